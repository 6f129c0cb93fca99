"""The upper and the lower bound of a federated run, derived from its configuration.

``centralized`` trains one model on the union of the data with the same number of mini-batch gradients per
round; ``local-only`` trains each client's model on its own data, without averaging.
"""

from collections.abc import Callable, Mapping, Sequence

from common.config import Config
from common.defaults import default_values
from common.errors import UserError, nearest
from common.sections import Value
from common.step_rules import step_rule
from server.named_parameters import without_idle_keys
from server.preparation import arrivals_per_round, clients_per_round

AS_GIVEN = "as-given"
CENTRALIZED = "centralized"
LOCAL_ONLY = "local-only"
COMPARATORS = (AS_GIVEN, CENTRALIZED, LOCAL_ONLY)


_COUNTED_IN_STEPS = (
    "local.total-steps",
    "schedule.warmup-steps",
    "local.steps-per-epoch",
    "evaluate.every-steps",
)


def derive(
    config: Config,
    comparator: str,
    client_sizes: Callable[[], Sequence[int]],
    keeps_natural_clients: Callable[[], bool] = lambda: False,
) -> Config:
    """Return the configuration of a comparator; deriving it again changes nothing.

    Parameters
    ----------
    config : Config
        The federated run.
    comparator : str
        One of `COMPARATORS`.
    client_sizes : callable
        Returns the number of training samples of every client; called only if the result depends on it.
    keeps_natural_clients : callable
        Returns whether the run has the data of only some of the data set's natural clients.

    Raises
    ------
    UserError
        If the comparator is unknown, or the data cannot be pooled.
    """
    if config.evaluate.test and config.clients.evaluate_fraction == 0:  # only there does the lower bound show
        config = Config.from_flat(config.flat() | {"clients.evaluate-fraction": 1.0})
    if comparator == AS_GIVEN:
        return config
    if comparator == LOCAL_ONLY:
        return without_idle_keys(Config.from_flat(_local_only(config)))  # such as those of attacks
    if comparator == CENTRALIZED:
        pooled = _centralized(config, client_sizes, keeps_natural_clients)
        return without_idle_keys(Config.from_flat(pooled))
    raise UserError(
        f"there is no comparator '{comparator}'{nearest(comparator, COMPARATORS)}"
        f" (available: {', '.join(COMPARATORS)})"
    )


def steps_per_round(config: Config, client_sizes: Callable[[], Sequence[int]]) -> int:
    """Return the expected number of mini-batch gradients of a round's clients, at least 1.

    With ``local.steps`` = J these are m J. With ``local.epochs`` = E a client makes E ceil(n_i / B) steps;
    the mean over all clients is taken, which is the expectation if all are equally likely to be sampled.
    """
    cohort = clients_per_round(config)
    if config.local.steps:
        return cohort * config.local.steps
    sizes = client_sizes()
    per_client = [config.local.epochs * config.local.steps_per_pass(size) for size in sizes]
    return max(1, int(cohort * sum(per_client) / len(per_client) + 0.5))


def _centralized(
    config: Config, client_sizes: Callable[[], Sequence[int]], keeps_natural_clients: Callable[[], bool]
) -> dict[str, Value]:
    if config.partition.name == "node":
        raise UserError(
            "the comparator 'centralized' needs the data in one place, and partition.name is 'node'"
        )
    if config.dataset.client_noise > 0:
        raise UserError(
            "the comparator 'centralized' cannot pool the data: with dataset.client-noise each client sees"
            " its own noise"
        )
    values = _whole_model(config)
    for section, name in (("method", "fedavg"), ("partition", "iid"), ("participation", "uniform")):
        values = _reset(values, section) | {f"{section}.name": name}
    # One client is neither slow nor malicious, and has nothing to hide from the server, or to send to it.
    values = _reset(values, "stragglers", "attack", "privacy", "topology", "compression") | {
        "clients.count": 1,
        "clients.fraction": 1.0,
        "clients.evaluate-fraction": 1.0 if config.evaluate.test else 0.0,
        "local.steps": steps_per_round(config, client_sizes),
        "local.epochs": 0,
        "local.world-size": 1,
        "resources.clients-per-node": 1,
    }
    cohort = clients_per_round(config)
    for key in _COUNTED_IN_STEPS:
        values[key] = cohort * int(values[key])
    if (rule := step_rule(config.steps)).decides:
        values |= {"steps.min": cohort * config.steps.min, "steps.max": cohort * config.steps.max}
        values |= {f"steps.{key}": value for key, value in rule.for_pooled_clients(cohort).items()}
    parts = [part.split(":") for part in config.local.phases.split(",") if part.strip()]
    values["local.phases"] = ",".join(":".join(str(cohort * int(n)) for n in part) for part in parts)
    if not config.dataset.natural_clients and keeps_natural_clients():
        values["dataset.natural-clients"] = config.clients.count
    return values


def _local_only(config: Config) -> dict[str, Value]:
    values = _reset(_whole_model(config), "method", "topology")
    values["method.name"] = LOCAL_ONLY
    # No part of the model is sent, so there is nothing to record.
    values |= {"analysis.similarity-rounds": "", "analysis.update-rounds": ""}
    if arrivals := arrivals_per_round(config):
        values["clients.fraction"] = arrivals / config.clients.count
    if config.stop.metric != "train_loss":  # there is no global model
        values |= {"stop.patience": 0, "stop.target": 0.0}
    return values


def _whole_model(config: Config) -> dict[str, Value]:
    """Return the configuration with the server's model for all clients, without early exits."""
    values = config.flat()
    if config.model.sizes:
        values["model.sizes"] = ""
        values.pop("model.exits", None)
    return values


def _reset(values: Mapping[str, Value], *sections: str) -> dict[str, Value]:
    """Reset sections to their defaults, without parameters of what they named."""
    prefixes = tuple(f"{section}." for section in sections)
    kept = {key: value for key, value in values.items() if not key.startswith(prefixes)}
    return kept | {key: value for key, value in default_values().items() if key.startswith(prefixes)}
