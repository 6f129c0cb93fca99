"""The strategies of Flower that can be used by name, as ``flwr:<Class>``, and their parameters."""

import inspect
from typing import Any, Literal, get_type_hints

import flwr.serverapp.strategy as flower_strategies
from flwr.serverapp.strategy import Strategy

from common.errors import UserError, nearest
from common.flower_limits import FIXED, LIMITS
from common.plugins import FLOWER_PREFIX
from strategies._flower import EVERYONE
from strategies._q_fedavg import QFedAvg

# Those that weight replies, with their default; the others, such as medians, weight all replies equally.
_WEIGHTING = {
    **dict.fromkeys(("FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "MultiKrum"), "examples"),
    "QFedAvg": "uniform",
}


def available_flower_strategies() -> list[str]:
    """List the strategies of Flower that can be used by name, as ``flwr:<Class>``."""
    return [
        FLOWER_PREFIX + key
        for key, cls in vars(flower_strategies).items()
        if inspect.isclass(cls)
        and issubclass(cls, Strategy)
        and cls is not Strategy
        and _takes_only_values(cls)
    ]


def flower_class(name: str) -> type[Strategy]:
    """Return the class of ``flwr:<Class>``.

    Raises
    ------
    UserError
        If Flower has none that can be used by name.
    """
    class_name = name.removeprefix(FLOWER_PREFIX)
    if name not in (available := available_flower_strategies()):
        usable = [other.removeprefix(FLOWER_PREFIX) for other in available]
        raise UserError(
            f"method.name: Flower has no strategy '{class_name}' that can be used by name"
            f"{nearest(class_name, usable)} (available: {', '.join(available)})"
        )
    return QFedAvg if class_name == "QFedAvg" else getattr(flower_strategies, class_name)  # type: ignore[no-any-return]


def flower_parameters(name: str) -> dict[str, tuple[Any, Any]]:
    """Return the parameters of ``flwr:<Class>`` that users may set: name → (annotation, default)."""
    cls = flower_class(name)
    hints = get_type_hints(cls.__init__)
    declared: dict[str, tuple[Any, Any]] = {
        key: (
            LIMITS.get(key, hints.get(key, Any)),
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for key, parameter in inspect.signature(cls).parameters.items()
        if key not in EVERYONE and key not in FIXED and hints.get(key) in (bool, int, float, str)
    }
    if weighting := _WEIGHTING.get(name.removeprefix(FLOWER_PREFIX)):
        declared["weighting"] = (Literal["examples", "uniform"], weighting)
    else:
        declared.pop("weighted_by_key", None)
    return declared


def _takes_only_values(strategy_class: type[Strategy]) -> bool:
    """Exclude wrappers of strategies, tree boosters, and FedProx, for which Flower has no client half."""
    name, signature = strategy_class.__name__, inspect.signature(strategy_class).parameters
    return (
        "strategy" not in signature
        and set(EVERYONE) <= set(signature)
        and "Xgb" not in name
        and name != "FedProx"
    )
