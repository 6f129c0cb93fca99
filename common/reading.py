"""Parse text that a user wrote or that may be damaged: any fault becomes a one-line error."""

import json
import os
import tomllib
from collections.abc import Iterable
from typing import Any

from common.errors import UserError


def parse_json(text: str, source: str) -> Any:
    """Parse JSON; `source` names it in the error.

    Raises
    ------
    UserError
        If it is not JSON, is nested too deeply, has a duplicate key, or a number with too many digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise UserError(f"{source} is not valid JSON: it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON: {without_advice(error)}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object without duplicate names, of which Python would silently keep the last."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{double!r} stands in one object twice")
    return result


def parse_toml_tables(text: str, source: str) -> dict[str, Any]:
    """Parse TOML into nested tables; `source` names it in the error.

    Raises
    ------
    UserError
        If it is not TOML, is nested too deeply, or has a number with too many digits.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise UserError(f"{source} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{source} is not valid TOML: {without_advice(error)}") from None


def without_advice(error: ValueError) -> str:
    """Return a parser's message, without its advice to programmers on numbers of thousands of digits."""
    return str(error).partition("; use sys.set_int_max_str_digits")[0]


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse command-line arguments that are not UTF-8 or contain a zero byte.

    Raises
    ------
    UserError
        Before anything uses them, since they cannot be written to ``config.toml``.
    """
    for argument in arguments:
        if not is_text(argument):
            shown = os.fsencode(argument) if _is_bytes(argument) else argument
            raise UserError(f"the command line has an argument that is not UTF-8 text: {shown!r}; rename it")


def is_text(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8 and used as a file name."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _is_bytes(value: str) -> bool:
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def comma_list(key: str, text: str) -> list[str]:
    """Return the names that the value of a key lists, separated by commas.

    Raises
    ------
    UserError
        If one is empty, or listed twice.
    """
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    if "" in names:
        raise UserError(f"{key} = {text!r} has an empty name between its commas: take it out")
    if double := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{key} = {text!r} names {double[0]!r} twice: remove one")
    return names
