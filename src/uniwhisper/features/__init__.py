"""Samples to log-mel."""
