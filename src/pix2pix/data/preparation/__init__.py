"""Make data sets from photos, and download published ones."""
