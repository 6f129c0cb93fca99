"""ScaleFL's client half (Ilhan, Su and Liu, CVPR 2023, section 3.4): all exits, taught by the last one."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from common.errors import UserError
from common.records import Tensors
from common.sections import Value
from models.sizes.early_exits import MultiExit, outputs_with


class ScaleFL(Client):
    """Weighted mean over the heads of cross-entropy plus distillation from the client's last head.

    ``gamma`` weights the distillation, which starts after a fraction ``distillation_start`` of the rounds.
    The authors' code has gamma = 0 by default, and 0.05 in its example for BERT.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "method.distillation-start": 0.0,
    }

    gamma: Annotated[float, Field(ge=0, le=1000)] = 0.05
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = 3.0
    distillation_start: Annotated[float, Field(ge=0, le=1)] = 0.25

    @classmethod
    def depends_on_rounds(cls, parameters: Mapping[str, Any]) -> bool:
        """Return whether distillation begins after a share of the rounds."""
        return bool(parameters["distillation_start"] > 0)

    def validate(self) -> None:
        """Refuse models that cannot have early exits."""
        config = self.worker.config
        if not isinstance(self.worker.model, MultiExit):
            raise UserError(
                f"'{config.method.name}' needs a model with early exits, which '{config.model.name}' cannot"
                " have: use model.name = 'stage-resnet' with model.exits such as '6,8,10'"
            )

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the loss over all heads that the client holds."""
        model = self.worker.model
        assert isinstance(model, MultiExit)
        own = params is self.params
        outputs = model.outputs(batch.inputs) if own else outputs_with(model, params, batch.inputs)
        if own:
            self.noted(outputs[-1])
        gamma = self.gamma if self._distils() else 0.0
        return multi_exit_loss(outputs, batch.targets, gamma, self.temperature)

    def _distils(self) -> bool:
        # The authors count rounds from 0.
        return self.server_round - 1 > self.distillation_start * self.worker.config.rounds


def multi_exit_loss(
    outputs: Sequence[Tensor], targets: Tensor, gamma: float, temperature: float
) -> torch.Tensor:
    """Return ScaleFL's loss, with the mean over samples and classes, as in the authors' code.

    sum_j j (CE(y_j) + gamma T^2 mean KL(softmax(y_m / T) || softmax(y_j / T))) / (m (m + 1) / 2), j = 1..m;
    gradients flow into the teacher y_m, too.

    Parameters
    ----------
    outputs : sequence of Tensor
        y_1, ..., y_m: logits (samples, classes) by ascending depth.
    targets : Tensor
        int64, shape (samples,).
    gamma : float
        Weight of the distillation.
    temperature : float
        T.
    """
    total = torch.zeros((), dtype=outputs[-1].dtype, device=outputs[-1].device)
    teacher = F.softmax(outputs[-1] / temperature, dim=1)
    for depth, logits in enumerate(outputs, start=1):
        term = F.cross_entropy(logits, targets)
        if gamma > 0 and depth < len(outputs):
            student = F.log_softmax(logits / temperature, dim=1)
            term = term + gamma * temperature**2 * F.kl_div(student, teacher, reduction="none").mean()
        total = total + depth * term
    return total / (len(outputs) * (len(outputs) + 1) / 2)
