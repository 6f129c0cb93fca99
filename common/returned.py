"""Check the types of values that users' hooks return or keep."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Real
from typing import Annotated

import torch
from flwr.app import ArrayRecord, MetricRecord
from pydantic import AfterValidator

from common.errors import UserError, nearest, shown
from common.records import CONFIG, EXCHANGE, MET, METRICS, is_finite

COLUMN = re.compile(r"[A-Za-z][\w.-]*")
"""Names of columns, and what follows on others' names."""
_TAKEN = (CONFIG, EXCHANGE, MET, METRICS)  # what other records of a message, or of a state, are called
_SENT = frozenset(
    {
        torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bool,
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    }
)  # fmt: skip


def _as_names(value: Collection[str]) -> Collection[str]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise ValueError("a collection of names, such as ('own',)")
    return value


Names = Annotated[Collection[str], AfterValidator(_as_names)]
"""Names that a class declares."""


def check_returned_tensors(value: object, what: str) -> None:
    """Refuse anything but a mapping of names to tensors.

    Raises
    ------
    UserError
        One line that starts with `what`.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{what} must be a mapping of names to tensors, not {shown(value)}")
    for name, tensor in value.items():
        if not isinstance(tensor, torch.Tensor):
            raise UserError(f"{what} must be a mapping of names to tensors, and '{name}' is {shown(tensor)}")
        if not isinstance(name, str):
            raise UserError(f"{what} must be a mapping of names to tensors, and {shown(name)} is not a name")


def check_returned(value: object, what: str) -> None:
    """Refuse anything but a mapping of sections; errors as in `check_returned_tensors`."""
    if not isinstance(value, Mapping):
        hint = "; return {} if there are none" if value is None else ""
        raise UserError(f"{what} must be a mapping of sections, not {shown(value)}{hint}")
    for name, section in value.items():
        check_returned_tensors(section, f"{what}: section '{name}'")
        if not isinstance(name, str):
            raise UserError(f"{what} must be a mapping of sections, and {shown(name)} is not a name")


def check_sent(value: object, what: str) -> None:
    """Refuse anything but sections that can be sent and kept; errors as in `check_returned_tensors`."""
    check_returned(value, what)
    assert isinstance(value, Mapping)
    for section, tensors in value.items():
        if section in _TAKEN:
            raise UserError(f"{what} has a section '{section}', a name that is taken: choose another")
        for name, tensor in tensors.items():
            if tensor.dtype not in _SENT or tensor.layout is not torch.strided or tensor.is_meta:
                raise UserError(
                    f"{what}: '{name}' of section '{section}' is {_form(tensor)} ({tensor.layout},"
                    f" {tensor.device}), which cannot be sent or kept: make it a dense tensor of a type that"
                    " NumPy has, such as float32"
                )


def check_finite(sections: Mapping[str, Mapping[str, torch.Tensor]], what: str) -> None:
    """Refuse values that are infinite or NaN.

    Raises
    ------
    UserError
        One line that starts with `what`.
    """
    for section, tensors in sections.items():
        if wrong := next((name for name, tensor in tensors.items() if not is_finite(tensor)), None):
            raise UserError(f"{what} must be finite, and '{wrong}' of section '{section}' is not")


def check_metrics(value: object, needed: str, what: str) -> None:
    """Refuse anything but a mapping of names, `needed` among them, to numbers; errors as in `check_names`."""
    if not isinstance(value, Mapping):
        raise UserError(f"{what} must be a mapping of names to numbers, not {shown(value)}")
    for name, number in value.items():
        if not isinstance(name, str) or isinstance(number, bool) or not isinstance(number, int | float):
            raise UserError(
                f"{what} must be a mapping of names to numbers, and {shown(name)} is {shown(number)}"
            )
    if needed not in value:
        raise UserError(f"{what} lacks '{needed}': add to what super() returns")


def call_for_effect(hook: Callable[..., object], *arguments: object) -> None:
    """Call a hook that returns nothing; refuse a value, which would be ignored."""
    if (value := hook(*arguments)) is not None:
        name = ".".join(hook.__qualname__.split(".")[-2:])
        raise UserError(
            f"what {name} returns is not used, and is {shown(value)}: return nothing, keep values in"
            " attributes of self, and write into tensors in place"
        )


def check_flag(value: object, what: str) -> bool:
    """Return a truth value; refuse anything else with an error as in `check_returned_tensors`."""
    if not isinstance(value, bool):
        raise UserError(f"{what} must be True or False, not {shown(value)}")
    return value


def check_text(value: object, what: str) -> str:
    """Return a text; refuse anything else with an error as in `check_returned_tensors`."""
    if not isinstance(value, str):
        raise UserError(f"{what} must be a text, the reason or an empty one, not {shown(value)}")
    return value


def check_loss(value: object, what: str) -> None:
    """Refuse anything but a scalar tensor from which gradients can be computed, where they are recorded.

    Raises
    ------
    UserError
        One line that starts with `what`.
    """
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{what} must be a scalar tensor, the mean over the samples, not {shown(value)}")
    if value.ndim or not value.is_floating_point():
        raise UserError(
            f"{what} must be a scalar tensor of floating-point numbers, the mean over the samples, not"
            f" {_form(value)}"
        )
    if torch.is_grad_enabled() and not value.requires_grad:
        raise UserError(
            f"{what} must be computed from the model's outputs by torch, without detach() or item(): it has"
            " no gradient"
        )


def check_like(
    value: object,
    form: Mapping[str, torch.Tensor],
    what: str,
    missing: str,
    names: Collection[str] | None = None,
) -> None:
    """Refuse anything but tensors with the names, shapes and dtypes of others.

    Parameters
    ----------
    value : object
        What a hook returned.
    form : mapping
        Name → a tensor of the same shape and dtype.
    what : str
        What the message starts with.
    missing : str
        What to do about a name that is missing, in which ``{name}`` stands for it.
    names : collection of str
        The names in `form` that are meant, if not all.

    Raises
    ------
    UserError
        One line.
    """
    check_returned_tensors(value, what)
    assert isinstance(value, Mapping)
    names = form if names is None else names
    for name in names:
        if name not in value:
            raise UserError(f"{what} lacks '{name}': {missing.format(name=name)}")
        if value[name].shape != form[name].shape or value[name].dtype != form[name].dtype:
            raise UserError(f"{what} has '{name}' as {_form(value[name])}: it must be {_form(form[name])}")
        if value[name].device != form[name].device:
            raise UserError(
                f"{what} has '{name}' on {value[name].device}: it must be on {form[name].device}, the device"
                " of the model"
            )
    if len(value) > len(names):
        name = next(name for name in value if name not in names)
        raise UserError(f"{what} has '{name}', for which it is not asked: leave it out")


def check_names(value: object, known: Collection[str], what: str) -> None:
    """Refuse anything but a collection of names of the model's entries.

    Raises
    ------
    UserError
        One line that starts with `what`.
    """
    if isinstance(value, str) or not isinstance(value, Collection):
        raise UserError(f"{what} must be names of entries of the model, not {shown(value)}")
    if unknown := next((name for name in value if name not in known), None):
        hint = nearest(str(unknown), known)
        raise UserError(f"{what} has {shown(unknown)}, which is not an entry of the model{hint}")


def check_entries(value: object, model: Mapping[str, torch.Tensor], what: str) -> None:
    """Refuse anything but tensors like entries of a model, by name and shape; errors as in `check_names`."""
    check_returned_tensors(value, what)
    assert isinstance(value, Mapping)
    check_names(value, model, what)
    for name, tensor in value.items():
        if tensor.shape != model[name].shape:
            form = f"{tuple(model[name].shape)} in the model"
            raise UserError(f"{what} has '{name}' of shape {tuple(tensor.shape)}, which is {form}")


def check_variants(value: object, model: Mapping[str, torch.Tensor], what: str) -> None:
    """Refuse anything but a mapping of names to entries of a model; errors as in `check_names`."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{what} must be a mapping of names to entries of the model, not {shown(value)}")
    for name, entries in value.items():
        if not COLUMN.fullmatch(name):
            raise UserError(f"{what} has the name {shown(name)}: a name has letters, digits and _ . - only")
        check_entries(entries, model, f"{what} as '{name}'")


def check_predictors(value: object, what: str) -> None:
    """Refuse anything but a mapping of names to functions; errors as in `check_names`."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{what} must be a mapping of names to functions, not {shown(value)}")
    for predictor in value.values():
        if not callable(predictor):
            raise UserError(f"{what} must be a function from inputs to logits, not {shown(predictor)}")


def check_logits(value: object, num_samples: int, num_classes: int, what: str) -> None:
    """Refuse anything but logits, or predicted numbers if `num_classes` is 0; errors as in `check_names`."""
    form = f"{num_samples}, {num_classes}" if num_classes else f"{num_samples}"
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{what} must be a tensor of the shape ({form}, ...), not {shown(value)}")
    begins = (num_samples, num_classes) if num_classes else (num_samples,)
    if not value.is_floating_point() or value.shape[: len(begins)] != begins:
        raise UserError(
            f"{what} must be floating-point numbers of the shape ({form}, ...), not {_form(value)}"
        )


def check_number(value: object, what: str) -> None:
    """Refuse anything but a finite number, at least 0; errors as in `check_names`."""
    if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise UserError(f"{what} must be a finite number, at least 0, not {shown(value)}")


def check_aggregated(value: object, what: str) -> tuple[ArrayRecord | None, MetricRecord | None]:
    """Return the model and the metrics of a strategy; refuse anything else; errors as in `check_names`."""
    kinds = (ArrayRecord | None, MetricRecord | None)
    if not isinstance(value, tuple) or len(value) != 2 or not all(map(isinstance, value, kinds)):
        raise UserError(f"{what} must be a pair of an ArrayRecord and a MetricRecord, not {shown(value)}")
    return value


def aggregated_metrics(value: object, what: str) -> dict[str, float]:
    """Return the metrics of a strategy; refuse all but numbers with names of columns, and None for none."""
    if value is None:
        return {}
    if not isinstance(value, MetricRecord):
        raise UserError(f"{what} must be a MetricRecord, or None, not {shown(value)}")
    for name, number in value.items():
        if not COLUMN.fullmatch(name):
            text = "a name begins with a letter and has letters, digits and _ . - only"
            raise UserError(f"{what} has the metric {shown(name)}: {text}")
        if not isinstance(number, Real):
            raise UserError(f"{what} has {shown(name)} as {shown(number)}: it must be a single number")
    return dict(value)  # type: ignore[arg-type]


def check_clients(value: object, num_clients: int, what: str) -> None:
    """Refuse anything but a list of client ids; errors as in `check_names`."""
    are_ids = isinstance(value, Sequence) and all(
        isinstance(client, int) and 0 <= client < num_clients for client in value
    )
    if not are_ids or len(set(value)) < len(value):  # type: ignore[call-overload, arg-type]
        raise UserError(
            f"{what} must be a list of client ids from 0 to {num_clients - 1}, each at most once, not"
            f" {shown(value)}"
        )


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
