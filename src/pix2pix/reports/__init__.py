"""HTML pages, curves, and findings in words."""
