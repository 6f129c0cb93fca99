"""The state of a client as a safetensors file."""

import json
from collections.abc import Mapping

import torch
from safetensors.torch import load, save

from common.records import Payload, Tensors

SEPARATOR = "::"  # between a section's name and a tensor's


def encode_state(sections: Payload, notes: Mapping[str, str] | None = None) -> bytes:
    """Return sections, and what else is noted, as the content of a safetensors file."""
    tensors: Tensors = {}
    for name, section in sections.items():
        for key, value in section.items():
            tensors[f"{name}{SEPARATOR}{key}"] = value.contiguous()
        if not section:  # kept by an empty name
            tensors[f"{name}{SEPARATOR}"] = torch.empty(0)
    return save(tensors, dict(notes) if notes else None)


def decode_state(content: bytes) -> Payload:
    """Return what `encode_state` was given."""
    sections: Payload = {}
    for key, value in load(content).items():
        name, _, inner = key.partition(SEPARATOR)
        section = sections.setdefault(name, {})
        if inner:
            section[inner] = value
    return sections


def notes_of(content: bytes) -> dict[str, str]:
    """Return the notes that `encode_state` was given."""
    length = int.from_bytes(content[:8], "little")
    notes: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return notes
