"""Drawings of recorded runs, one a file."""
