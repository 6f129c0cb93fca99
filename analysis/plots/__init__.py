"""Plots of one run, each a file with ``plot``."""
