"""Losses that keep a client's predictions near those of a frozen model."""

import torch
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors
from models.measures.evaluation import evaluation_mode


def logits_of_teacher(client: Client, teacher: Tensors, batch: Batch) -> torch.Tensor:
    """Return the logits of the resident model with the entries of another one, in evaluation mode."""
    with torch.no_grad(), evaluation_mode(client.worker.model):
        logits: torch.Tensor = torch.func.functional_call(client.worker.model, teacher, (batch.inputs,))
    return logits


def by_target(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (targets, classes) and targets (targets,), without those that are padding.

    `logits` are (samples, classes), or (samples, classes, positions).
    """
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    flat = targets.reshape(-1)
    return rows[flat >= 0], flat[flat >= 0]


def divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean over rows of KL(softmax(teacher) || softmax(student))."""
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)
