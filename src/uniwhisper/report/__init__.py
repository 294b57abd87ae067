"""Scores to pages and tables. Reads result files only: no audio, no models."""
