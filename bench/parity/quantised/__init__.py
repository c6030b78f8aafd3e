"""Int8 artefacts: whether they are the graph they were made from, and how far from float."""
