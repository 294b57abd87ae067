"""Audio to vectors: the part most people use."""
