"""Groups of clients in turn."""

from typing import Annotated

from pydantic import Field

from common.errors import UserError
from server.participation._scheme import Facts, ParticipationScheme, SelectionContext


class Periodic(ParticipationScheme):
    """Calls one group of clients for some rounds, then the next (cyclic participation).

    In the code of Bao, Crawshaw and Liu (ICML 2024) round r calls the clients of group floor((r - 1) / s)
    mod (K / a): a = ``group_size`` consecutive ids. ``clients.fraction`` does not matter.
    """

    keeps_cohort_size = False
    uses_fraction = False

    group_size: Annotated[int, Field(ge=1)] = 1
    period: Annotated[int, Field(ge=1)] = 1

    def begin_run(self, facts: Facts) -> None:
        """Check that the groups are equal."""
        if facts.num_clients % self.group_size:
            raise UserError(
                f"participation.group-size {self.group_size} does not divide clients.count, which is"
                f" {facts.num_clients}"
            )

    def select(self, selection: SelectionContext) -> list[int]:
        """Return the group whose turn it is."""
        group = (selection.server_round - 1) // self.period % (selection.num_clients // self.group_size)
        return list(range(group * self.group_size, (group + 1) * self.group_size))
