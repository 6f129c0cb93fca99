"""Compressed changes of models, found by file name: ``compression.name = "top-k"`` is ``top_k.py``.

A module has a subclass of ``Compression``; its parameters, annotated class attributes, are what
``compression.<parameter>`` may set. A client sends the change of each trainable array, y - x, as the bytes
that ``encode`` makes of it, and the server continues with x plus what ``decode`` makes of these. With
``compression.error-feedback`` a client adds to its change what its earlier messages have left out.
"""

from typing import ClassVar

import torch

from common.chosen import chosen_object
from common.config import Config
from common.errors import UserError
from common.plugin_kinds import COMPRESSION
from common.randomness import torch_generator

NONE = "none"


class Compression:
    """How the change of one array is sent.

    Attributes
    ----------
    error_feedback : bool
        ``compression.error-feedback``, set by the engine.
    TAKES_FEEDBACK : bool
        Whether the error is smaller than the change, so that what was left out fits into later messages.
    """

    error_feedback = False
    TAKES_FEEDBACK: ClassVar[bool] = True

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the bytes to send, uint8 (bytes,).

        Parameters
        ----------
        change : Tensor
            y - x of one array, finite, flat, with at least one value. Not written to.
        generator : torch.Generator
            On the CPU. ``decode`` is given one with the same state.
        """
        raise NotImplementedError

    def decode(
        self, data: torch.Tensor, size: int, dtype: torch.dtype, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the change that was sent, flat, on the device of `data`.

        Parameters
        ----------
        data : Tensor
            What ``encode`` returned; from another machine, so that it may be anything.
        size, dtype : int, torch.dtype
            Number of values of the array, and their dtype.

        Raises
        ------
        ValueError
            If ``encode`` returns no such bytes.
        """
        raise NotImplementedError


def compression_of(config: Config) -> Compression | None:
    """Return the compression of a run; None if changes are sent as they are.

    Raises
    ------
    UserError
        If there is no such compression or parameter, or it does not take error feedback.
    """
    if config.compression.name == NONE:
        return None
    found = chosen_object(COMPRESSION, config.compression, Compression)
    found.error_feedback = config.compression.error_feedback
    if found.error_feedback and not found.TAKES_FEEDBACK:
        raise UserError(
            f"compression.error-feedback does not go with compression.name '{config.compression.name}', whose"
            " error may be larger than the change: leave it out"
        )
    return found


def compression_generator(seed: int, server_round: int, client_id: int, index: int) -> torch.Generator:
    """Return the generator for the array with this index in a client's message of a round."""
    return torch_generator(seed, "compression", server_round, client_id, index)
