"""The random numbers of a model's forward pass in local training, such as its dropout.

Our own dropout layers share one generator; anything else draws from the global ones, or from its own.
"""

from typing import cast

import torch

from clients.hooks import Hooks
from common.global_generators import seed_again
from common.randomness import Purpose, torch_seed


def seed_forward(client: Hooks, purpose: str) -> None:
    """Seed them for a local budget: by purpose (as of ``iterate_training_batches``), round and client."""
    worker = client.worker
    if worker.dropout_layers:
        generator = client.generator("dropout", purpose, worker.device)
        for layer in worker.dropout_layers:
            layer.generator = generator  # one for all layers: with one each, all would draw the same numbers
    if worker.runs_outside_code:
        key = cast(Purpose, f"{purpose}-steps" if purpose else "steps")
        seed = torch_seed(worker.config.seed, key, client.server_round, client.client_id)
        seed_again(seed, worker.device, worker.own_generators)


def seed_forward_of_step(client: Hooks, step: int) -> None:
    """Seed them, after ``seed_forward``, for one local step of the run, whichever round that step is in."""
    worker, seed = client.worker, client.worker.config.seed
    if worker.dropout_layers:
        generator = cast(torch.Generator, worker.dropout_layers[0].generator)  # that of all layers
        generator.manual_seed(torch_seed(seed, "step-dropout", step, client.client_id))
    if worker.runs_outside_code:
        of_run = torch_seed(seed, "steps", 0, client.client_id)  # rounds begin with 1
        seed_again((of_run + step) % 2**63, worker.device, worker.own_generators)
