"""Local SGD's client half (Yu et al. 2019; Lin, Stich et al. 2020): clients with their own optimisers.

arXiv:1905.03817, arXiv:1808.07217.
"""

from typing import Literal

from clients.base import Client
from clients.local.incoming import Section
from clients.local.optimizers import optimizer_state, parameter_of
from common.records import Payload, Tensors

OPTIMIZER = "optimizer"


class LocalSGD(Client):
    """Local steps whose optimiser state survives the round.

    ``momentum`` says how the optimiser's state (momentum buffers, Adam's moments) is handled when models are
    averaged: ``average``, it is averaged as well (Yu et al. 2019); ``keep``, each client continues with its
    own (Gu et al. 2023, code); ``reset``, it is cleared.
    """

    momentum: Literal["average", "keep", "reset"] = "average"

    def state_form(self) -> Payload:
        """Return the form of the optimiser's state, with ``momentum`` ``keep``; otherwise nothing is kept."""
        return {OPTIMIZER: self._optimizer_form(self.state)} if self.momentum == "keep" else {}

    def receives(self) -> dict[str, Section]:
        """Return the form of the averaged optimiser state, which is absent in the first round."""
        if self.momentum != "average":
            return {}
        return {OPTIMIZER: Section(self._optimizer_form(self.received), needed_for=())}

    def _optimizer_form(self, sections: Payload) -> Tensors:
        """Return the form of the optimiser's state for the parameters that occur in `sections`."""
        if OPTIMIZER not in sections:
            return {}
        form = self.worker.optimizer_form
        known = {parameter_of(key) for key in sections[OPTIMIZER]}
        return {key: value for key, value in form.items() if parameter_of(key) in known}

    def initial_optimizer(self) -> Tensors:
        """Return the client's own optimiser state, or the average."""
        if self.momentum == "reset":
            return {}
        return (self.state if self.momentum == "keep" else self.received).get(OPTIMIZER, {})

    def end_round(self, params: Tensors) -> Payload:
        """Keep the optimiser's state, or send it for averaging."""
        if self.momentum == "reset":
            return {}
        kept = optimizer_state(self.worker.optimizer, params)
        if self.momentum == "average":
            return {OPTIMIZER: kept}
        self.state[OPTIMIZER] = kept
        return {}
