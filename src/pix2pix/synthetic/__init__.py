"""The embedded default data: procedural facades, drawn from a seed."""
