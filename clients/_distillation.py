"""Distillation losses: they keep a client's predictions near those of a frozen teacher."""

import torch

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors
from models.measures.evaluation import evaluation_mode


def logits_of_teacher(client: Client, teacher: Tensors, batch: Batch) -> torch.Tensor:
    """Return the logits of the resident model with the teacher's entries, in evaluation mode.

    The client's own BatchNorm statistics replace the teacher's if they are local.
    """
    teacher = {**teacher, **client.kept_entries}
    with torch.no_grad(), evaluation_mode(client.worker.model):
        logits: torch.Tensor = torch.func.functional_call(client.worker.model, teacher, (batch.inputs,))
    return logits


def by_target(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (targets, classes) and targets (targets,); negative ones are padding.

    `logits` are (samples, classes), or (samples, classes, positions).
    """
    return logits.movedim(1, -1).reshape(-1, logits.shape[1]), targets.reshape(-1)


def divergence(student: torch.Tensor, teacher: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of KL(softmax(teacher) || softmax(student)) over rows whose target is not negative."""
    counts = targets >= 0  # a factor instead of an index, which would synchronise with the GPU
    log_p, log_q = teacher.log_softmax(1), student.log_softmax(1)
    terms = log_p.exp() * (log_p - log_q)  # F.kl_div has no rule for stacked clients
    return (terms * counts[:, None]).sum() / counts.sum()
