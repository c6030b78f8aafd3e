"""What every file from outside is held to before it is used: its kind, size, JSON and shape."""
