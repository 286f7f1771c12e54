"""Studies: published experiments as files, run and held against stored bands."""
