"""The report: recorded runs as one page that works offline."""
