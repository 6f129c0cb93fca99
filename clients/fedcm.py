"""FedCM's client half (Xu et al. 2021, arXiv:2106.10874, Algorithm 2)."""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.base import Client
from clients.local.incoming import Section
from clients.local.sgd_only import require_no_momentum
from common.records import Tensors
from common.sections import Value


class FedCM(Client):
    """Steps along alpha g + (1 - alpha) Delta, Delta being the server's momentum; alpha = 1 is FedAvg."""

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.1

    def validate(self) -> None:
        """Refuse client momentum."""
        require_no_momentum(self.worker.config.optimizer, "fedcm")

    def receives(self) -> dict[str, Section]:
        """Return Delta."""
        return {"momentum": Section(self.params)}

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the mixed direction."""
        momentum = self.received["momentum"]
        return {name: self.alpha * grad + (1 - self.alpha) * momentum[name] for name, grad in grads.items()}
