"""How far answers are from the reference, and how far they may be."""
