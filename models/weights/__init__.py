"""Weights from files: of runs, of pre-trained models."""
