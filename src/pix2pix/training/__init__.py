"""Training: plan, updates, validation, checkpoints, run folders."""
