"""Many runs of one experiment in one folder: what sweep and search share."""
