"""Scores to pages and tables people read."""
