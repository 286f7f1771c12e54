"""The schemes in the box, one a file."""
