"""Pairs to batches."""
