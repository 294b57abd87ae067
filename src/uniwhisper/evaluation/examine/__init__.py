"""One encoder looked at more closely than a score does: layer by layer, and on altered clips."""
