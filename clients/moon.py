"""MOON's client half (Li, He and Song 2021, arXiv:2103.16257, Eq. 3 and Algorithm 1)."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from common.records import ARRAYS, Payload, Tensors
from common.sections import Positive
from models.classifier import as_classifier, embed_with
from models.measures.evaluation import evaluation_mode


class Moon(Client):
    """Adds mu l_con, which pulls z towards the global model's and away from the client's previous models'.

    l_con = -log e^{cos(z, z_glob) / T} / (e^{cos(z, z_glob) / T} + sum_p e^{cos(z, z_prev_p) / T}). z is the
    projected embedding; the other models are frozen. In a client's first round the term is off.
    """

    DEFAULTS: ClassVar = {"model.projection": 256}
    NEEDS_ONE_LABEL = True
    mu: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = 0.5
    previous_models: Positive = 1

    def state_form(self) -> Payload:
        """Return the form of the previous models, which there are after the first round."""
        return {"previous-*": self.worker.model_state}

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return cross-entropy plus mu l_con."""
        previous = [self.state[name] for name in sorted(self.state) if name.startswith("previous-")]
        if not previous or self.mu == 0:
            return super().loss(params, batch)
        model = as_classifier(self.worker.model)
        z, logits = self.features_and_logits(params, batch.inputs)
        received = {**self.received[ARRAYS], **self.kept_entries}  # BatchNorm statistics that are local
        with torch.no_grad(), evaluation_mode(model):
            anchors = [embed_with(model, state, batch.inputs) for state in (received, *previous)]
        loss = F.cross_entropy(logits, batch.targets)
        return loss + self.mu * contrastive_loss(z, anchors, self.temperature)

    def end_round(self, params: Tensors) -> Payload:
        """Keep the trained model, as the newest of the previous ones."""
        for age in range(self.previous_models - 1, 0, -1):
            if f"previous-{age - 1}" in self.state:
                self.state[f"previous-{age}"] = self.state[f"previous-{age - 1}"]
        self.state["previous-0"] = {n: value.detach().clone() for n, value in self.worker.model_state.items()}
        return {}


def contrastive_loss(z: torch.Tensor, anchors: list[torch.Tensor], temperature: float) -> torch.Tensor:
    """Return the mean of -log softmax of cos(z, anchor) / T at the first anchor, the positive one."""
    cosines = torch.stack([F.cosine_similarity(z, anchor, dim=-1) for anchor in anchors], dim=-1)
    return F.cross_entropy(cosines / temperature, torch.zeros(len(z), dtype=torch.long, device=z.device))
