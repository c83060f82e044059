"""Evaluation of models, and comparison of runs."""
