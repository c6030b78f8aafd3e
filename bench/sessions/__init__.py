"""What can be run: one file for each runtime."""
