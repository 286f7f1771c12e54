"""Commands beside the engine's own."""
