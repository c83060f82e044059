"""Arrays to channels in [-1, 1] and back."""
