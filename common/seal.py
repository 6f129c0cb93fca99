"""JSON files with a hash of their own content, so that damage is detected."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_HASH = "sha256"


def seal(content: Mapping[str, Any]) -> bytes:
    """Return the content as JSON, with its hash as the last entry."""
    return json.dumps({**content, _HASH: _digest(content)}, indent=1).encode()


def unseal(text: bytes) -> dict[str, Any]:
    """Return the content that `seal` was given, with keys as strings.

    Raises
    ------
    ValueError
        If it is damaged, or was not written by `seal`.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(expected := content.pop(_HASH, None), str):
        raise ValueError("it has no hash of itself: damaged, or written by an older version")
    if _digest(content) != expected:
        raise ValueError("it is damaged: its content has another hash than it says")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
