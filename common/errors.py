"""The errors that users see, and suggestions for misspelt names."""

import difflib
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

# Codes of error replies, above those of Flower: a job raised, the user can fix it, a worker process died, a
# node was restarted under its old id and has lost its state, a message does not come from a Flowerbed server.
CLIENT_FAILED, CLIENT_MISCONFIGURED, WORKER_DIED, CLIENT_FORGOT, CLIENT_REFUSED = range(1000, 1005)


_ALIKE = 0.6  # as difflib measures it

# What goes by another name in the field, or needs a setting.
_SHARDS = "; the skew of two shards per client is 'classes' with partition.classes-per-client = 2"
_HERE = {
    ("optimizer.name", "adam"): "; Adam is 'adamw' with optimizer.weight-decay = 0",
    ("partition.name", "shards"): _SHARDS,
    ("partition.name", "shard"): _SHARDS,
    ("partition.name", "pathological"): _SHARDS,
    ("partition.name", "lda"): "; latent Dirichlet allocation is 'dirichlet'",
}


class UserError(Exception):
    """Something the user can fix: one line that says what is wrong and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class InapplicableKeyError(UserError):
    """A valid key that does not apply to this run: its feature is off, or its owner has no such parameter.

    Attributes
    ----------
    key : str
        The dotted key.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class NoEffectError(InapplicableKeyError):
    """A key that has no effect in this run: another setting, or the method, leaves it none."""


class UnknownNameError(UserError):
    """An unknown name in the configuration."""


class ClientFailureError(Exception):
    """A client's job failed and ``failures.policy`` says that this ends the run (exit code 1)."""


def print_error(error: UserError) -> None:
    """Print an error as one line on standard error, whatever text it quotes."""
    print(f"error: {one_line(str(error))}", file=sys.stderr)


def one_line(text: str) -> str:
    """Return text with line breaks and other non-printable characters escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def described(error: BaseException) -> str:
    """Return an exception of third-party code as one line, with the file and line that raised it."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


class DivergedError(ClientFailureError):
    """The server's model, or a method's state, is not finite (exit code 1)."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of `known`, or nothing if none is near.

    A section stands for its name (``dataset`` for ``dataset.name``). For dotted keys, the order of preference
    is: the same last part in another section, initials (``lr`` for ``learning-rate`` of any section), similar
    keys in the same section, similar keys. A section that two keys share makes them no more similar.
    """
    choices = list(known)
    section, _, last = name.rpartition(".")
    alike = [key for key in choices if not section or _are_alike(key.rpartition(".")[2], last)]
    groups = [
        [key for key in choices if key == f"{name}.name"],
        [key for key in choices if "." in key and key.rpartition(".")[2] == last],
        [key for key in choices if len(last) > 1 and _initials(key.rpartition(".")[2]) == last],
        [key for key in alike if section and key.startswith(f"{section}.")],
        alike,
    ]
    for group, cutoff in zip(groups, (0.0, 0.0, 0.0, 0.0, 0.5), strict=True):
        if matches := difflib.get_close_matches(name, group, n=1, cutoff=cutoff):
            return f"; did you mean '{matches[0]}'?"
    return ""


def _are_alike(name: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, name, other).ratio() >= _ALIKE


def _initials(words: str) -> str:
    return "".join(word[:1] for word in words.split("-"))


def unknown_name(key: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for an unknown name as the value of the key `key`."""
    choices = sorted(known)
    available = ", ".join(choices)
    hint = _HERE.get((key, name.lower())) or nearest(name, choices)
    return UnknownNameError(f"{key}: there is no '{name}'{hint} (available: {available})")


def complaint(error: Mapping[str, Any]) -> str:
    """Return what pydantic says of a value, without its fixed beginnings."""
    return str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")


def wrong_value(what: str, error: Mapping[str, Any]) -> str:
    """Return that a value of the configuration must be another, given what pydantic says of it."""
    value = error["input"]
    if error["type"] == "int_type" and type(value) is float and value.is_integer() and abs(value) < 2**63:
        # TOML has no other way to write an integer: 1e3 is a float.
        return f"{what} must be an integer, without a point or an exponent: {int(value)}, not {value!r}"
    return f"{what} must be {complaint(error)}, not {shown(value)}"


def shown(value: object, length: int = 80) -> str:
    """Return a value as shown in messages: on one line, truncated if long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or very deep nesting
        return "that"
    return text if len(text) <= length else f"{text[: length - 3]}..."
