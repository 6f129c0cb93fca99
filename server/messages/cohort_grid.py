"""The Grid that a strategy sees in a round."""

from collections.abc import Iterable

from flwr.serverapp import Grid

from server.messages.grid_view import GridView


class CohortGrid(GridView):
    """A view of a Grid that shows only the nodes of a round.

    So any strategy that addresses "all nodes", such as Flower's own, addresses the cohort.
    """

    def __init__(self, grid: Grid, node_ids: Iterable[int]) -> None:
        super().__init__(grid)
        self._node_ids = list(node_ids)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids of the cohort, in the order of their clients."""
        return list(self._node_ids)
