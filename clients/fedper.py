"""FedPer (Arivazhagan et al. 2019, arXiv:1912.00818): a shared body and a personal head, trained together."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from clients.base import Client
from common.parameters import Needs
from models.heads.parts import check_parts, part_names


class FedPer(Client):
    """Joint SGD on the whole model; ``personal_part`` (``models.heads.parts``) never leaves the client."""

    NEEDS: ClassVar[Mapping[str, Needs]] = {"weighting": Needs("personal_part", other_than=("all",))}

    personal_part: str = "head"

    def validate(self) -> None:
        """Refuse a part without entries, and one that leaves nothing to share unless that is asked for."""
        shares = self.personal_part != "all"
        check_parts(self.worker.model, "method.personal-part", self.personal_part, trains_rest=shares)

    def personal_names(self) -> Collection[str]:
        """Return the entries of the personal part."""
        return part_names(self.worker.model, self.personal_part)
