"""Encoders of other projects, as functions from waves to frames. Nothing here imports their packages before use."""
