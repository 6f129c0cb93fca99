"""Fine-tuning of a head on a frozen body."""

import torch
from torch.nn import functional as F

from clients.base import Client
from clients.local.optimizers import make_optimizer, set_learning_rate
from clients.local.training_batches import iterate_training_batches
from common.rates import base_rate
from common.records import Tensors
from models.classifier import as_classifier
from models.heads.realignment import logits
from models.measures.evaluation import evaluation_mode


def tuned_head(client: Client, head: Tensors, epochs: int) -> Tensors:
    """Return a copy of a head, fine-tuned for a number of epochs on the client's training data.

    Uses the optimiser and learning rate of ``optimizer.*``, whatever the schedule; the body is in evaluation
    mode and frozen.
    """
    model = as_classifier(client.worker.model)
    local = client.worker.config.local.model_copy(update={"steps": 0, "epochs": epochs})
    leaves = {name: value.detach().clone().requires_grad_() for name, value in head.items()}
    optimizer = make_optimizer(leaves.values(), client.worker.config.optimizer)
    set_learning_rate(optimizer, base_rate(client.worker.config))
    with torch.enable_grad(), evaluation_mode(model):
        for batch in iterate_training_batches(client, "personal", local):
            with torch.no_grad():
                features = model.embed(batch.inputs)
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(logits(leaves, features), batch.targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return {name: value.detach() for name, value in leaves.items()}
