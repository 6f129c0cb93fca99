"""A client's state as a safetensors file."""

import json
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import save
from safetensors.torch import load

from common.binary_files import ORDER, in_order, order_of
from common.records import Payload

SEPARATOR = "::"  # between a section's name and a tensor's


def encode_state(sections: Payload, notes: Mapping[str, str] | None = None) -> bytes:
    """Return sections and notes as the content of a safetensors file.

    Uses the writer for NumPy arrays, which takes a quarter of the time of the one for torch; so dtypes are
    those of NumPy, as in messages.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, section in sections.items():
        for key, value in section.items():
            arrays[f"{name}{SEPARATOR}{key}"] = value.contiguous().numpy(force=True)
        if not section:  # marked by an entry with an empty name
            arrays[f"{name}{SEPARATOR}"] = np.empty(0, np.float32)
    return save(arrays, {**(notes or {}), **order_of(arrays)})


def decode_state(content: bytes) -> Payload:
    """Return the sections that `encode_state` was given."""
    sections: Payload = {}
    for key, value in in_order(load(content), content).items():
        name, _, inner = key.partition(SEPARATOR)
        section = sections.setdefault(name, {})
        if inner:
            section[inner] = value
    return sections


def notes_of(content: bytes) -> dict[str, str]:
    """Return the notes that `encode_state` was given."""
    length = int.from_bytes(content[:8], "little")
    notes: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return {name: text for name, text in notes.items() if name != ORDER}
