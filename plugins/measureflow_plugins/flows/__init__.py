"""The flows in the box, one a file."""
