"""FedProx (Li et al. 2020, arXiv:1812.06127) with the penalty of the sample in Flower's documentation.

It is mu ||w - x||, where the paper's is (mu / 2) ||w - x||^2.
"""

from clients.fedprox import FedProx
from common.norms import norm
from common.records import Tensors


class FedProxNorm(FedProx):
    """Adds mu (w - x) / ||w - x|| to the gradient: of length mu whatever the distance, and 0 at w = x."""

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradient of the penalised loss."""
        changes = {name: params[name] - self.global_params[name] for name in grads}
        scale = self.mu / norm(changes).clamp_min(1e-30)
        return {name: grad + scale * changes[name] for name, grad in grads.items()}
