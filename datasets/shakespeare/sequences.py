"""The task of TensorFlow Federated: in sequences of 80 tokens, predict the next one after every position.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021. Each speech starts with a bos and ends with an eos
token, and is padded to a multiple of 81 and cut into pieces of 81: the first 80 tokens are the input, the
last 80 the targets. Padding does not count. Clients are split by time, speech by speech.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datasets.dataset import IGNORED_TARGET
from datasets.shakespeare.roles import Role
from datasets.shakespeare.vocabulary import BEGIN, END, PAD, TFF
from datasets.shakespeare.windows import LENGTH, IndexArray

Sequences = npt.NDArray[np.uint8]
_NONE: Sequences = np.empty((0, LENGTH + 1), dtype=np.uint8)


@dataclass(frozen=True)
class SequenceClient:
    """A client's sequences of 81 tokens; `size` counts those of all parts."""

    key: str
    size: int
    train: Sequences
    validation: Sequences
    test: Sequences


def encode_speech(lines: Sequence[str]) -> tuple[Sequences, int]:
    """Return a speech as uint8 sequences (pieces, 81), and how many of its characters are unknown."""
    ids, unknown = TFF.encode("\n".join(lines))
    tokens = np.full(-(-(len(ids) + 2) // (LENGTH + 1)) * (LENGTH + 1), PAD, dtype=np.uint8)
    tokens[0], tokens[1 : len(ids) + 1], tokens[len(ids) + 1] = BEGIN, ids, END
    return tokens.reshape(-1, LENGTH + 1), unknown


def split_role(
    key: str, role: Role, train_fraction: float, validation_fraction: float
) -> tuple[SequenceClient | None, int]:
    """Split a client's speeches by time; also return how many characters are unknown.

    The first ``max(1, int(fraction * speeches))`` are the train part, of which validation takes the end if
    there is more than one. A client with a single speech has no test part: it is None.
    """
    encoded = [encode_speech(lines) for lines in role.speeches]
    speeches = [sequences for sequences, _ in encoded]
    if len(speeches) < 2:
        return None, 0
    num_train = max(1, int(train_fraction * len(speeches)))
    num_kept = max(1, int((1 - validation_fraction) * num_train)) if validation_fraction > 0 else num_train
    parts = (speeches[:num_kept], speeches[num_kept:num_train], speeches[num_train:])
    train, validation, test = (np.concatenate([_NONE, *part]) for part in parts)
    size = sum(map(len, speeches))
    return SequenceClient(key, size, train, validation, test), sum(unknown for _, unknown in encoded)


def inputs_and_targets(sequences: Sequences) -> tuple[Sequences, IndexArray]:
    """Return inputs, uint8, and targets, int64, both (sequences, 80), with padding marked to be ignored."""
    targets = sequences[:, 1:].astype(np.int64)
    targets[targets == PAD] = IGNORED_TARGET
    return np.ascontiguousarray(sequences[:, :-1]), targets
