"""Local SGD's client half (Yu et al. 2019; Lin, Stich et al. 2020): workers with optimisers of their own.

arXiv:1905.03817, arXiv:1808.07217.
"""

from collections.abc import Collection
from typing import Literal

from clients.base import Client
from clients.local.optimizers import optimizer_state
from common.records import Payload, Tensors

OPTIMIZER = "optimizer"


class LocalSGD(Client):
    """Local steps whose optimiser survives the round.

    ``momentum`` says how the optimiser's state (momentum buffers, Adam's moments) is handled when models are
    averaged: ``average``, it is averaged as well (Yu et al. 2019); ``keep``, each worker continues with its
    own (Gu et al. 2023, code); ``reset``, it starts again.
    """

    momentum: Literal["average", "keep", "reset"] = "average"

    def keeps(self) -> Collection[str]:
        """Return what the worker keeps for itself: its optimiser's state, or nothing."""
        return (OPTIMIZER,) if self.momentum == "keep" else ()

    def initial_optimizer(self) -> Tensors:
        """Return the worker's own state of the optimiser, or the average."""
        if self.momentum == "reset":
            return {}
        return (self.state if self.momentum == "keep" else self.received).get(OPTIMIZER, {})

    def end_round(self, params: Tensors) -> Payload:
        """Keep the optimiser's state, or send it to be averaged."""
        if self.momentum == "reset":
            return {}
        kept = optimizer_state(self.worker.optimizer, params)
        if self.momentum == "average":
            return {OPTIMIZER: kept}
        self.state[OPTIMIZER] = kept
        return {}
