"""Minibatch SGD's client half (Woodworth et al. 2020, arXiv:2002.07839): one large-batch step per round."""

from clients.base import Client
from clients.local.optimizers import weight_decays
from clients.local.sgd_only import require_own_clipping
from common.records import Payload, Tensors


class MinibatchSgd(Client):
    """Computes the gradients of all its mini-batches at the global model and takes one step with their mean.

    So a round of J local steps costs the gradients and the communication of Local SGD with J steps.
    """

    NEEDS_ONE_RATE = True

    def validate(self) -> None:
        """Refuse options that would change the step."""
        require_own_clipping(self.worker.config.optimizer, "minibatch-sgd")

    def begin_round(self) -> None:
        """Reset the mean."""
        self._sum = self.zeros()
        self._last = self.step_budget - 1
        self._decays = weight_decays(self.worker.optimizer, self.params)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the mean gradient in the last step; before it, what cancels the optimiser's weight decay."""
        self._sum = {name: self._sum[name] + grad for name, grad in grads.items()}
        if self.num_steps == self._last:
            return {name: total / (self._last + 1) for name, total in self._sum.items()}
        return {name: -self._decays[name] * params[name] for name in grads}

    def end_round(self, params: Tensors) -> Payload:
        """Release the mean."""
        self._sum = {}
        return {}
