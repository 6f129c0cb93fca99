"""Gossip SGD's client half: a client of Local SGD, which normally keeps its optimiser.

arXiv:1705.09056, arXiv:1905.03817.
"""

from typing import ClassVar, Literal

from clients.localsgd import LocalSGD
from common.sections import Value


class GossipSgd(LocalSGD):
    """Local steps whose optimiser state survives the round.

    ``momentum`` says what happens to the optimiser's state after a round: ``keep``, the client keeps it;
    ``average``, it is mixed with the neighbours' like the models (Yu, Jin and Yang 2019, decentralised);
    ``reset``.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "model.name": "mlp",
        "clients.count": 4,
        "clients.fraction": 1.0,
        "optimizer.momentum": 0.9,
    }

    RECEIVES_OWN_MODEL = True

    momentum: Literal["average", "keep", "reset"] = "keep"
