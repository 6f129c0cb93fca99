"""What is measured of a model: losses, accuracies, features, sharpness."""
