"""From a file of weights to a network."""
