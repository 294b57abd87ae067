"""Public repositories of recordings -> corpora in this project's layout, one row of `rows/` for each."""
