"""Reducers beside the engine's own: other ways to evaluate the same sums, one a file."""
