"""Translation of images and files with a trained model."""
