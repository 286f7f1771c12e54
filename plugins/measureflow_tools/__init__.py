"""Commands that work on experiments and recorded runs."""
