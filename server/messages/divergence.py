"""Divergence checks and their error messages: where it was noticed, and the usual causes."""

import math
import re
from collections.abc import Iterator, Mapping

import torch

from common.config import Config
from common.errors import DivergedError
from common.parameters import class_parameters
from common.rates import learning_rate
from common.records import Tensors, is_finite
from strategies.fedavg import FedAvg

_DIVERGED = 1000.0  # times the first loss


def check_model(arrays: Tensors, config: Config, strategy: FedAvg, server_round: int) -> None:
    """Check that what the server computed in a round is finite.

    Raises
    ------
    DivergedError
        If a value of the model, or of the strategy's state, is infinite or NaN.
    """
    what = next((f"the new model has it in '{name}'" for name, v in arrays.items() if not is_finite(v)), "")
    what = what or next(_faults(strategy), "")
    if what:
        raise DivergedError(
            f"round {server_round}: the clients' replies are finite, but what the server computes from them"
            f" is not: {what}.\n{advice(config, strategy, server_round)}"
        )


def check_loss(row: Mapping[str, float], config: Config, strategy: FedAvg, server_round: int) -> None:
    """Check that the loss of the server's model is finite.

    Raises
    ------
    DivergedError
        If it is not, although the model's values are; before any client trains from it.
    """
    loss = row.get("test_loss", row.get("validation_loss", 0.0))
    if not math.isfinite(loss):
        when = f"after round {server_round}" if server_round else "before the first round"
        raise DivergedError(
            f"the loss of the server's model is {loss} {when}: its values are so large that the loss"
            f" overflows.\n{advice(config, strategy, server_round)}"
        )


def grown_loss(first: Mapping[str, float], final: Mapping[str, float]) -> str:
    """Return a remark on a run that ended with a loss far above that of its first evaluation; or "".

    Parameters
    ----------
    first, final : mapping
        The results of the first and of the last evaluation.
    """
    for name in ("test_loss", "validation_loss"):
        if name in first and name in final:
            before, after = first[name], final[name]
            if after > _DIVERGED * max(before, 1.0):  # a loss near 0 may well grow by a factor
                return f"the {name.replace('_', ' ')} rose from {before:.4g} to {after:.4g}"
            return ""
    return ""


def is_divergence(reason: str) -> bool:
    """Return whether a client failed because numbers became infinite or NaN."""
    return bool(re.search(r"not finite|no longer finite|the reply's metric '.*' is (nan|-?inf)", reason))


def is_of_server(reason: str) -> bool:
    """Return whether a client's numbers were not finite at the server's model, before it took a step."""
    return bool(
        re.search(
            r"the model that it was sent has diverged|the reply's metric 'loss' is"
            r"|^the message's '.*' has a value that is not finite",
            reason,
        )
    )


def advice(config: Config, strategy: FedAvg, server_round: int) -> str:
    """Return advice: the learning rates of a round, and other settings that may make a run diverge."""
    return " ".join(_advice(config, strategy, server_round))


def _advice(config: Config, strategy: FedAvg, server_round: int) -> Iterator[str]:
    optimizer = config.optimizer
    rates = [f"optimizer.learning-rate = {optimizer.learning_rate:g}"]
    now = learning_rate(config, max(1, server_round))
    if now != optimizer.learning_rate:
        rates.append(f"which is {now:g} in round {server_round}")
    rates += _server_rates(strategy, config.method.parameters)
    yield f"Most often a learning rate is too high: {', '.join(rates)}."
    remedies = ["lower it"]
    if not config.schedule.warmup_rounds:
        remedies.append("warm it up (schedule.warmup-rounds)")
    if not optimizer.clip_norm:
        remedies.append("clip gradients (optimizer.clip-norm)")
    yield f"Try to {', or '.join(remedies)}."
    for key in ("mu", "lam"):
        weight = config.method.parameters.get(key, 0.0)
        if isinstance(weight, int | float) and now * weight > 2:
            yield (
                f"method.{key} = {weight:g} pulls too far: times the learning rate it should stay below 2,"
                f" and it is {now * weight:.3g}."
            )
    yield from strategy.divergence_advice(config) or ()  # None from a hook must not hide the divergence
    if config.privacy.noise_multiplier > 0:
        yield "The noise of privacy.noise-multiplier grows with privacy.clip-norm: lower either."


def _server_rates(strategy: FedAvg, given: Mapping[str, object]) -> Iterator[str]:
    """Yield the server's learning rates; those of a Flower strategy are known only if they are set."""
    rates = {name.replace("_", "-"): getattr(strategy, name) for name in class_parameters(type(strategy))}
    for name, value in {**given, **rates}.items():
        if name.endswith("learning-rate") or name in ("eta", "eta-l"):
            yield f"method.{name} = {value}"


def _faults(strategy: FedAvg) -> Iterator[str]:
    """Yield the entries of the strategy's state that are not finite."""
    checked = vars(strategy).keys() - strategy.transient - {*strategy.PAST_MODELS}
    for attribute in sorted(checked):
        for name, value in _tensors(attribute, vars(strategy)[attribute]):
            # It is sent in the model's precision, in which it must be finite as well.
            if value.is_floating_point() and not is_finite(value.float()):
                yield f"the method's '{name}' has it"


def _tensors(name: str, value: object) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name}.{key}", part)
