"""Checkpoints: what is written and how it is committed."""
