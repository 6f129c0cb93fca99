"""Clients that do harm on purpose, found by file name: ``attack.name = "sign-flip"`` is ``sign_flip.py``.

A module has a subclass of ``Attack``; its parameters, annotated class attributes, are what
``attack.<parameter>`` may set. Attackers do their job as every client does, apart from the hooks below: what
they report (losses, numbers of samples) is that of the job, and a method's own sections are left alone.
"""

import functools

import torch

from common.chosen import chosen_object
from common.config import Config
from common.plugins import ATTACK
from common.randomness import numpy_generator
from common.records import Tensors


class Attack:
    """What an attacker changes; as it stands, nothing."""

    def labels(self, targets: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Return what the attacker trains on instead of its targets, which are not written to.

        Parameters
        ----------
        targets : torch.Tensor
            Of a mini-batch: int64 classes, of which those below 0 are padding; or numbers.
        num_classes : int
            C; 0 where targets are numbers.
        """
        return targets

    def model(self, trained: Tensors, start: Tensors, generator: torch.Generator) -> Tensors:
        """Return what the attacker sends for the entries that it trained; `start` are those it was sent."""
        return dict(trained)


@functools.lru_cache(maxsize=4)
def attackers(config: Config) -> frozenset[int]:
    """Return the clients that attack: a share of all, drawn once for the run."""
    if config.attack.name == "none":
        return frozenset()
    count = round(config.attack.fraction * config.clients.count)
    drawn = numpy_generator(config.seed, "attack").choice(config.clients.count, count, replace=False)
    return frozenset(drawn.tolist())


def attack_of(config: Config, client_id: int) -> Attack | None:
    """Return the attack of a client; None if it is honest."""
    return chosen_object(ATTACK, config.attack, Attack) if client_id in attackers(config) else None
