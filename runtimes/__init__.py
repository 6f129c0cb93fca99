"""Flower Grids that carry messages, and the commands that start runs."""
