"""Procedural facades, drawn from a seed: the default data of the package."""
