"""One module per command of the command line; `edgerep.cli` loads the one that was asked for."""
