"""pFedHN's client half (Shamsian et al., ICML 2021, arXiv:2103.04628, Algorithm 1)."""

from clients.base import Client
from common.records import Tensors


class PFedHN(Client):
    """Trains from the model that the server generates for this client; predicts with it as received."""

    def personal_model(self) -> Tensors:
        """Return no entries: the received model is the personal one."""
        return {}
