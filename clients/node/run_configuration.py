"""The run configuration that a node received, and which client the node is."""

import functools
from collections.abc import Mapping

from flwr.app import Context

from clients._configuration import complete
from clients.local.worker import get_worker
from common.config import Config
from common.errors import UserError
from common.plugins import use_folders
from common.sections import Value

# The last run configuration that this process received, unparsed and parsed.
_latest: list[tuple[Mapping[str, Value], Config]] = []


@functools.lru_cache(maxsize=4)
def _parse_config(items: tuple[tuple[str, Value], ...]) -> Config:
    return complete(Config.from_flat(dict(items)))


def parse_run_config(run_config: Mapping[str, Value]) -> Config:
    """Validate a Flower run configuration, once per process."""
    if _latest and _latest[0][0] is run_config:
        return _latest[0][1]
    config = _parse_config(tuple(sorted(run_config.items())))
    use_folders(config.plugins)
    _latest[:] = [(run_config, config)]
    return config


def forget_run() -> None:
    """Release the data and the model that this process keeps for a run, before it starts another."""
    get_worker.cache_clear()
    _parse_config.cache_clear()
    _latest.clear()


def config_of(context: Context) -> Config:
    """Return the run's configuration for this node, which knows the number of nodes."""
    config = parse_run_config(context.run_config)
    if config.clients.count:
        return config
    if "num-partitions" not in context.node_config:
        raise UserError(
            "clients.count is 0, so that every node has to know how many there are: start this SuperNode with"
            " --node-config 'partition-id=0 num-partitions=2'"
        )
    return config.with_clients(int(context.node_config["num-partitions"]))


def client_id_of(context: Context) -> int:
    """Return the partition id of this node, which is the client's identity everywhere."""
    if "partition-id" not in context.node_config:
        raise UserError("this SuperNode has no partition id: start it with --node-config 'partition-id=0'")
    return int(context.node_config["partition-id"])
