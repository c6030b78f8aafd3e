"""The reference interpreter of Core ML packages."""
