"""Checkpoints: a manifest and shards."""
