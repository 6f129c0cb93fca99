"""AFL's client half (Mohri, Sivek and Suresh, ICML 2019, arXiv:1902.00146)."""

from clients._loss_at_start import LossAtStart


class AFL(LossAtStart):
    """Local SGD; the client also sends the loss of the received model on all its data."""
