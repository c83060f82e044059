"""Metrics of outputs: of single images, of sets of images, and diagnostics."""
