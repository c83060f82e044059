"""A model in formats of others, which need neither this package nor torch."""
