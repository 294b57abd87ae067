"""A suite's sets from their public originals: which clips, where they come from, and the folders made of them."""
