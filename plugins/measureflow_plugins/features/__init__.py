"""The features in the box, one a file."""
