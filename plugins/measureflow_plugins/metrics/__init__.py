"""The metrics in the box, one a file."""
