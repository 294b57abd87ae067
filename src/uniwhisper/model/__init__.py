"""Log-mel to frames (encoder), frames to audio tokens (adapter), audio and text tokens to a loss or an answer (language model)."""
