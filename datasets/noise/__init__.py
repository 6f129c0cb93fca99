"""Noise on images and labels, by client or by sample."""
