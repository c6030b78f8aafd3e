"""Linear maps: pure, no graph, no network."""
