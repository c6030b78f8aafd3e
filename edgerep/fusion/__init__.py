"""From a network to a fused network with its certificate."""
