"""What a trained model answers, judged: it is asked about held-out clips in words, and its words are read."""
