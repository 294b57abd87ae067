"""Sound in: files, bytes or arrays to mono float32 samples at 16 kHz."""
