"""Label flipping (Fang et al., USENIX Security 2020, arXiv:1911.11815, section 5.1)."""

import torch

from clients.local.attacks import Attack
from common.errors import UserError


class LabelFlip(Attack):
    """Trains on C - 1 - y instead of y."""

    def labels(self, targets: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Return the flipped labels; padding stays."""
        if num_classes == 0:
            raise UserError("attack.name 'label-flip' needs classes, and this data's targets are numbers")
        return torch.where(targets >= 0, num_classes - 1 - targets, targets)
