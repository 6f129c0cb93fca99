"""Every client trains alone: the lower baseline for federated methods."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from clients.fedper import FedPer
from common.parameters import Needs


class LocalOnly(FedPer):
    """The whole model is personal and nothing is averaged; the training budget is that of a federated run."""

    NEEDS: ClassVar[Mapping[str, Needs]] = {}  # its server half says that nothing is weighed

    personal_part: Literal["all"] = "all"
