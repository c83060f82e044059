"""Translation of pictures and files with a trained model."""
