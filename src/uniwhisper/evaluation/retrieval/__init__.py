"""Captions to sounds and back in the `clean` protocol: sounds are mapped to frozen vectors of texts."""
