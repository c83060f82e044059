"""Inference: a model and pictures in, translated pictures out."""
