"""File names to named pairs in splits."""
