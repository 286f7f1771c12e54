"""The sources in the box, one a file."""
