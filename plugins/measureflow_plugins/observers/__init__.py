"""The observers in the box, one a file."""
