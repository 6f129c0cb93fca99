"""FedSAM (Qu et al. 2022, Algorithm 1; Caldarola et al. 2022): clients seek flat minima.

arXiv:2206.02618, arXiv:2203.11834.
"""

from typing import Annotated

import torch
from pydantic import Field

from clients.base import Client
from common.records import Tensors


class FedSAM(Client):
    """Takes the gradient of the same batch at w + rho g / ||g||; a step costs two gradients."""

    rho: Annotated[float, Field(ge=0, le=1e6)] = 0.05

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradient at the perturbed weights."""
        norm = torch.linalg.vector_norm(torch.stack([grad.norm() for grad in grads.values()]))
        scale = self.rho / (norm + 1e-12)
        return self.gradient_at({n: params[n] + scale * g for n, g in grads.items()}, self.batch)
