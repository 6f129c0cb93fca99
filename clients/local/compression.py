"""Compressed changes (``common/compressions``) in place of the model that a client sends."""

import torch

from clients.base import Client
from common.compressions import Compression, compression_generator, compression_of
from common.errors import UserError, shown
from common.records import ARRAYS, Payload, Tensors, is_finite
from common.returned import check_like

LEFT_OUT = "left-out"
"""The section of a client's state with what its messages have left out of its changes: error feedback."""


@torch.no_grad()
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
        sent[name], lost = _sent(
            compression, change, (config.seed, client.server_round, client.client_id, index)
        )
        if compression.error_feedback:
            left_out[name] = lost.view(start[name].shape)
    if compression.error_feedback:
        client.state[LEFT_OUT] = left_out
    return {**sections, ARRAYS: sent}


def form_of_left_out(client: Client) -> Tensors:
    """Return tensors of the form of `LEFT_OUT`; empty without error feedback."""
    if not client.worker.config.compression.error_feedback:
        return {}
    personal = client.personal_names()
    return {name: value for name, value in client.params.items() if name not in personal}


def _sent(
    compression: Compression, change: torch.Tensor, key: tuple[int, int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bytes of a change, and with error feedback what is lost of it."""
    name, takes_back = type(compression).__name__, compression.error_feedback
    data = compression.encode(change.clone() if takes_back else change, compression_generator(*key))
    if not isinstance(data, torch.Tensor) or data.dtype != torch.uint8 or data.ndim != 1:
        raise UserError(f"what {name}.encode returns must be bytes, a tensor uint8 (n,), not {shown(data)}")
    if not takes_back:
        return data, change
    arrived = compression.decode(data, len(change), change.dtype, compression_generator(*key))
    check_like({"change": arrived}, {"change": change}, f"what {name}.decode returns", "return the change")
    return data, change - arrived
