"""The initial measures in the box, one a file."""
