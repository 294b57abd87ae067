"""Corpora as they come: each form of storage becomes the same stream of `SourceClip`s."""
