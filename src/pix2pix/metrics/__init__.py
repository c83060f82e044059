"""Metrics of outputs: of single images and of sets of images; diagnostics."""
