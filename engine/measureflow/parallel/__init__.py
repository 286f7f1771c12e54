"""Who computes: the processes of a run."""
