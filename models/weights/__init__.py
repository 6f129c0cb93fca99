"""Weights from files: from runs and of pre-trained models."""
