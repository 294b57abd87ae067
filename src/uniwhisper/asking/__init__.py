"""Audio and a question -> an answer."""
