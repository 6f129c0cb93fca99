"""Further global models that a strategy has evaluated."""

from common.records import Tensors
from common.returned import check_variants
from strategies.fedavg import FedAvg


def variants_of(strategy: FedAvg, model: Tensors) -> dict[str, Tensors]:
    """Return the variants of a model: name → entries that differ.

    Raises
    ------
    UserError
        If they are not entries of the model.
    """
    own = {name: value.clone() for name, value in model.items()} if strategy.is_from_outside else model
    variants = strategy.variants(own)
    check_variants(variants, model, f"what {type(strategy).__name__}.variants returns")
    return variants
