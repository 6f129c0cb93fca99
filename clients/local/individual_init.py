"""Clients that start the run from individual initial weights (``model.individual-init``)."""

import torch

from clients.local.worker import Worker
from common.randomness import torch_seed
from common.records import Tensors
from models.configured import build_configured_model


def individual_init(worker: Worker, client_id: int, sent: Tensors) -> Tensors:
    """Return the model from which a client starts the first round, until the first averaging.

    Every entry is that of a newly initialised model, a different one for each client (the code of Bao,
    Crawshaw and Liu, ICML 2024: ``individual_init``). Entries of `sent` that differ from the run's initial
    model stay: the server has set them, such as a fixed head.
    """
    config = worker.config
    seed = torch_seed(config.seed, "individual-init", client_id) % 2**32
    own = build_configured_model(
        config.model_copy(update={"seed": seed}), *worker.dataset.model_arguments
    ).state_dict()
    initial = worker.initial_model
    return {
        name: own[name].to(initial[name]) if torch.equal(value.to(initial[name]), initial[name]) else value
        for name, value in sent.items()
    }
