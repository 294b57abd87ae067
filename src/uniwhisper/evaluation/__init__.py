"""Vectors to scores: suites as data, kNN, two probes and a CTC probe, and results that say what they came from."""
