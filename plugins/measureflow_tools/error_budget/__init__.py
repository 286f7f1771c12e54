"""How much of a run's last metrics is due to its step, its atoms and its data: runs beside it, and estimates from them."""
