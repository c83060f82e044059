"""Random transforms of a pair, and padding."""
