"""Labelled audio to a classifier of one's own: a linear head on frozen vectors, or with the encoder trained along."""
