"""Measures of a model: losses, accuracies, features, sharpness."""
