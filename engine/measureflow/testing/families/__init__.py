"""What the components of each family promise."""
