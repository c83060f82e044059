"""Measures of output pictures."""
