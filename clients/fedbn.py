"""FedBN (Li et al. 2021): BatchNorm layers are personal, both parameters and statistics.

arXiv:2102.07623.
"""

from typing import ClassVar

from clients.fedper import FedPer
from common.sections import Value


class FedBN(FedPer):
    """Shares all but the BatchNorm layers, which are found by their type."""

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "model.name": "stage-resnet",
        "model.blocks": "1-1-1-1",
        "model.width": 4,
    }

    personal_part: str = "batch-norm"
