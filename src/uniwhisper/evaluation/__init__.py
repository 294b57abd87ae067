"""Vectors to scores: k nearest neighbours and probes on frozen features."""
