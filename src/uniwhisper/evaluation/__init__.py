"""Vectors to scores: suites as data, true-cosine kNN, a linear probe, and results that say what they came from."""
