"""The networks that edgerep knows, and what any network takes and gives."""
