"""Faster ways to compute the same convolutions on a CPU."""
