"""The processes of one training."""
