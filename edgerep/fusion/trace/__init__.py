"""A module as a graph of calls; that graph run, and cut."""
