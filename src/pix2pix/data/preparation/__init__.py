"""Data sets made from photos, and downloaded ones."""
