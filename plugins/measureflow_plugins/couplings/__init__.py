"""The couplings in the box, one a file."""
