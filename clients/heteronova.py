"""HeteroNova's client half: FedNova on the client's sub-model (Chan et al., ICLR 2024, section 5.1).

arXiv:2308.11464.
"""

from clients.fednova import FedNova


class HeteroNova(FedNova):
    """Replies with a_i = ||a_i||_1; without momentum, and for AdamW, that is the number of local steps."""

    def validate(self) -> None:
        """Take any optimiser."""
