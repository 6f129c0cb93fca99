"""q-FFL's client half (Li, Sanjabi, Beirami and Smith, ICLR 2020, arXiv:1905.10497, Algorithm 2)."""

from clients._loss_at_start import LossAtStart


class QFFL(LossAtStart):
    """Local SGD; the client also sends F_k, the loss of the received model on all its data."""

    NEEDS_ONE_RATE = True

    def assumes_sgd(self) -> bool:
        """Return True: L = 1 / lr holds for SGD's steps."""
        return True
