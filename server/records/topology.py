"""The links of a decentralised run, for its plot."""

import csv
import io
from pathlib import Path

from common.config import Config
from common.files import write_atomic
from common.topologies import Topology
from strategies._decentralised import Decentralised
from strategies.fedavg import FedAvg

MAX_LINKS = 100_000  # a plot cannot show more of them


def write_topology(path: Path, config: Config, strategy: FedAvg) -> None:
    """Write ``round,client_id,neighbour,weight``: from whom each client receives, until rounds repeat."""
    if not isinstance(strategy, Decentralised):
        return
    topology = Topology(config.topology, config.clients.count, config.seed)
    if topology.links.sum() > MAX_LINKS:
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["round", "client_id", "neighbour", "weight"])
    for number in range(1, len(topology.links) + 1):
        weights = topology.mixing(number)
        for client, neighbour in zip(*topology.links_of(number).nonzero(), strict=True):
            writer.writerow([number, client, neighbour, weights[client, neighbour]])
    write_atomic(path, table.getvalue().encode())
