"""Recorded runs, read again: rows, clocks, snapshots, what they look like."""
