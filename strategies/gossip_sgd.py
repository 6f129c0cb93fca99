"""Gossip SGD, also called D-PSGD (Lian et al. 2017, arXiv:1705.09056, Algorithm 1), with local steps."""

from typing import Literal

import torch

from common.records import ARRAYS
from strategies._decentralised import Decentralised, Stack, mixed


class GossipSgd(Decentralised):
    """x_i <- sum_j w_ij y_j, where y_j is x_j after client j's local steps: ``adapt-then-combine``.

    ``combine-then-adapt`` is the order of the published algorithm, which overlaps computation with
    communication: x_i <- sum_j w_ij x_j + (y_i - x_i). The mean of the models is the same.
    """

    COLUMNS = ("spectral_gap", "peer_bytes")

    order: Literal["adapt-then-combine", "combine-then-adapt"] = "adapt-then-combine"

    def averages_globally(self, server_round: int) -> bool:
        """Return whether the round ends with the mean over all clients instead of the neighbours'."""
        return False

    def mix(self, server_round: int) -> dict[str, Stack]:
        """Return W Y, or W X + (Y - X) for models; optimiser state is always W Y."""
        weights = self._weights(server_round)
        found = {section: mixed(weights, stack) for section, stack in self.trained.items()}
        if self.order == "combine-then-adapt":
            before, after = self.models[ARRAYS], self.trained[ARRAYS]
            found[ARRAYS] = {
                name: value + (after[name].double() - before[name])
                for name, value in mixed(weights, before).items()
            }
        return found

    def _weights(self, server_round: int) -> torch.Tensor:
        if self.averages_globally(server_round):
            return torch.full((self.num_clients,) * 2, 1 / self.num_clients, dtype=torch.float64)
        assert self.topology is not None
        return torch.from_numpy(self.topology.mixing(server_round))

    def bytes_on_the_clock(self, client: int, server_round: int, num_bytes: int) -> float:
        """Return the bytes that a client exchanges with its neighbours, or in a ring all-reduce."""
        assert self.topology is not None
        if self.averages_globally(server_round):
            return 4 * (self.num_clients - 1) / self.num_clients * self.bytes_of_client
        links = self.topology.links_of(server_round)
        return float((links[client].sum() + links[:, client].sum()) * self.bytes_of_client)

    def measures(self, models: Stack, server_round: int) -> dict[str, float]:
        """Add the spectral gap of W, and the bytes on the round's links, or of a ring all-reduce."""
        assert self.topology is not None
        is_global = self.averages_globally(server_round)
        links = 2 * (self.num_clients - 1) if is_global else self.topology.links_of(server_round).sum()
        return {
            **super().measures(models, server_round),
            "spectral_gap": 1.0 if is_global else self.topology.spectral_gap(server_round),
            "peer_bytes": float(links * self.bytes_of_client),
        }
