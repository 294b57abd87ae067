"""Speech and music made by programs from this project's own words and notes: exact labels, and named synthetic."""
