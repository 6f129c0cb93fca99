"""Simulations of the papers' toy problems; they read no run directory."""
