"""What is put in and what is recorded."""
