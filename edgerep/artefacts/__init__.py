"""What every file that edgerep makes has in common."""
