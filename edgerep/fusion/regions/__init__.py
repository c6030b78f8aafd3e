"""Which parts of a network become one layer each, and where it goes."""
