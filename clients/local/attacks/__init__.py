"""Byzantine (malicious) clients, found by file name: ``attack.name = "sign-flip"`` is ``sign_flip.py``.

A module has a subclass of ``Attack``; its parameters, annotated class attributes, are what
``attack.<parameter>`` may set. Apart from the hooks below, attackers behave like any other client: they
report true losses and numbers of samples, and do not change a method's own sections.
"""

import functools

import torch

from common.chosen import chosen_object
from common.config import Config
from common.plugin_kinds import ATTACK
from common.randomness import numpy_generator
from common.records import Tensors


class Attack:
    """What an attacker changes; by default nothing."""

    def labels(self, targets: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Return the targets that the attacker trains on, each depending on its own target only.

        `targets` are not written to.

        Parameters
        ----------
        targets : torch.Tensor
            Targets of a mini-batch: int64 classes, where negative ones are padding, or numbers (regression).
        num_classes : int
            C; 0 if targets are numbers.
        """
        return targets

    def model(self, trained: Tensors, start: Tensors, generator: torch.Generator) -> Tensors:
        """Return what the attacker sends for the entries that it trained from `start`."""
        return dict(trained)


@functools.lru_cache(maxsize=4)
def attackers(config: Config) -> frozenset[int]:
    """Return the ids of the attackers: a fraction of all clients, drawn once for the run."""
    if config.attack.name == "none":
        return frozenset()
    count = round(config.attack.fraction * config.clients.count)
    drawn = numpy_generator(config.seed, "attack").choice(config.clients.count, count, replace=False)
    return frozenset(drawn.tolist())


def attack_of(config: Config, client_id: int) -> Attack | None:
    """Return the attack of a client; None if it is honest."""
    return chosen_object(ATTACK, config.attack, Attack) if client_id in attackers(config) else None
