"""Compressed changes (``common/compressions``) in place of the model that a client sends."""

import torch

from clients.base import Client
from common.compressions import compression_generator, compression_of
from common.errors import UserError, shown
from common.records import ARRAYS, Payload, Tensors, is_finite

LEFT_OUT = "left-out"
"""The section of a client's state with what its messages have left out of its changes: error feedback."""


def compressed(client: Client, sections: Payload) -> Payload:
    """Return the sections that a client sends after training, with the changes of trainable arrays as bytes.

    With error feedback, ``state`` then has what was left out. Values that are not finite are sent as they
    are, so that the server finds them; so is the first model of a client with an initial one of its own.

    Parameters
    ----------
    client : Client
        After its round.
    sections : Payload
        What it would send without compression.
    """
    config = client.worker.config
    if (compression := compression_of(config)) is None:
        return sections
    if config.model.individual_init and client.server_round == 1:  # there is no common x yet
        return sections
    start, sent = client.received[ARRAYS], dict(sections[ARRAYS])
    earlier, left_out = client.state.get(LEFT_OUT, {}), Tensors()
    for index, name in enumerate(start):
        if name not in client.params or name not in sent:
            continue
        change = (sent[name].detach() - start[name]).reshape(-1)
        if name in earlier:
            change += earlier[name].view(-1)
        if not len(change) or not is_finite(change):
            continue
        key = (config.seed, client.server_round, client.client_id, index)
        data = compression.encode(change.clone(), compression_generator(*key))
        what = f"what {type(compression).__name__}"
        _check(data, torch.uint8, f"{what}.encode returns must be bytes, a tensor uint8 (n,)")
        sent[name] = data
        if compression.error_feedback:
            arrived = compression.decode(data, len(change), change.dtype, compression_generator(*key))
            _check(
                arrived, change.dtype, f"{what}.decode returns must have {len(change)} values", len(change)
            )
            left_out[name] = (change - arrived).view(start[name].shape)
    if compression.error_feedback:
        client.state[LEFT_OUT] = left_out
    return {**sections, ARRAYS: sent}


def form_of_left_out(client: Client) -> Tensors:
    """Return tensors of the form of `LEFT_OUT`; empty without error feedback."""
    if not client.worker.config.compression.error_feedback:
        return {}
    personal = client.personal_names()
    return {name: value for name, value in client.params.items() if name not in personal}


def _check(value: object, dtype: torch.dtype, expected: str, size: int | None = None) -> None:
    is_right = isinstance(value, torch.Tensor) and value.dtype == dtype and value.ndim == 1
    if not is_right or (size is not None and value.shape != (size,)):  # type: ignore[attr-defined]
        raise UserError(f"{expected}, not {shown(value)}")
