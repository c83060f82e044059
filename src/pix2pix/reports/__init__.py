"""HTML pages, curves, and sentences on what they show."""
