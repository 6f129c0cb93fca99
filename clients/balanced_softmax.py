"""Balanced softmax (Ren et al. 2020) and logit adjustment (Menon et al. 2021) as the clients' loss.

arXiv:2007.10740, arXiv:2007.07314.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from clients._class_prior import log_prior
from clients.base import Client
from clients.local.batches import Batch
from clients.local.incoming import Section
from common.records import Tensors


class BalancedSoftmax(Client):
    """Cross-entropy of z + tau log v; predictions use z alone.

    ``prior`` selects the data behind the class counts v: the client's own (``local``) or all clients'
    (``global``, which the server sends). With ``local``, a client does not unlearn classes that it lacks.
    """

    NEEDS_ONE_LABEL = True

    tau: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    prior: Literal["local", "global"] = "local"

    def receives(self) -> dict[str, Section]:
        """Return the form of the class counts, with ``prior`` ``global``."""
        if self.prior == "local":
            return {}
        return {
            "class-counts": Section(
                {"counts": torch.zeros(self.worker.dataset.num_classes, dtype=torch.int64)}
            )
        }

    def begin_round(self) -> None:
        """Set the class counts."""
        others = None if self.prior == "local" else self.received["class-counts"]["counts"]
        self.shift = log_prior(self.target_counts(others), self.tau).to(self.worker.device)

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy of the shifted logits."""
        return F.cross_entropy(self.forward(params, batch.inputs) + self.shift, batch.targets)
