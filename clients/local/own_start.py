"""Clients that begin the run from initial weights of their own (``model.individual-init``)."""

import torch

from clients.local.worker import Worker
from common.randomness import torch_seed
from common.records import Tensors
from models.configured import build_configured_model


def own_start(worker: Worker, client_id: int, sent: Tensors) -> Tensors:
    """Return the model with which a client begins the first round, until the first averaging.

    Every entry is that of a new model, another one for each client (the code of Bao, Crawshaw and Liu, ICML
    2024: ``individual_init``). Entries of `sent` that differ from the run's initial model stay: the server
    has made them, as it does a fixed head.
    """
    config = worker.config
    seed = torch_seed(config.seed, "individual-init", client_id) % 2**32
    own = build_configured_model(
        config.model_copy(update={"seed": seed}), *worker.dataset.model_arguments
    ).state_dict()
    initial = worker.initial_state
    return {
        name: own[name].to(initial[name]) if torch.equal(value.to(initial[name]), initial[name]) else value
        for name, value in sent.items()
    }
