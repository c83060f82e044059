"""Pages, curves and advice."""
