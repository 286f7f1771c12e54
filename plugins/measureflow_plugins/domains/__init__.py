"""The domains in the box, one a file."""
