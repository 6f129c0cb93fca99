"""The state of a client as a safetensors file."""

import torch
from safetensors.torch import load, save

from common.records import Payload, Tensors

_SEPARATOR = "::"  # between a section's name and a tensor's


def encode_state(sections: Payload) -> bytes:
    """Return sections as the content of a safetensors file; one without tensors is kept by an empty name."""
    tensors: Tensors = {}
    for name, section in sections.items():
        for key, value in section.items():
            tensors[f"{name}{_SEPARATOR}{key}"] = value.contiguous()
        if not section:
            tensors[f"{name}{_SEPARATOR}"] = torch.empty(0)
    return save(tensors)


def decode_state(content: bytes) -> Payload:
    """Return what `encode_state` was given."""
    sections: Payload = {}
    for key, value in load(content).items():
        name, _, inner = key.partition(_SEPARATOR)
        section = sections.setdefault(name, {})
        if inner:
            section[inner] = value
    return sections
