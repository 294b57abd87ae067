"""Log-mel to frames (encoder), to audio tokens (adapter), with text tokens to a loss or an answer (language model)."""
