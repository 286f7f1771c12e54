"""How everything moves."""
