"""Flower Grids that deliver messages, and the commands that start runs."""
