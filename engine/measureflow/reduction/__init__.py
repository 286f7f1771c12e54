"""How sums over pairs are evaluated."""
