"""SlowMo's client half (Wang et al. 2020, arXiv:1910.00643): that of Local SGD."""

from clients.localsgd import LocalSGD


class SlowMo(LocalSGD):
    """The base optimiser's buffers are averaged, kept or reset, as in Local SGD."""
