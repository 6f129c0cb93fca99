"""Shakespeare as a data set with natural clients: each role of each play is one."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from common.errors import UserError
from common.randomness import numpy_generator
from common.sections import NonNegative, Positive
from datasets.dataset import Dataset, Split
from datasets.request import Request
from datasets.shakespeare.clients import ClientUnit, client_key, client_text, group_by_client
from datasets.shakespeare.layouts import Edition, read_roles
from datasets.shakespeare.roles import Role
from datasets.shakespeare.sequences import SequenceClient, inputs_and_targets, split_role
from datasets.shakespeare.vocabulary import LEAF, TFF
from datasets.shakespeare.windows import (
    Client,
    IndexArray,
    SplitClient,
    cut_out,
    deal_windows,
    sample_clients,
    split_clients,
    window_starts,
)

Fraction = Annotated[float, Field(gt=0, lt=1)]
Part = npt.NDArray[np.int64] | npt.NDArray[np.uint8]


class _Sized(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...


_S = TypeVar("_S", bound=_Sized)


def load_shakespeare(
    request: Request,
    *,
    edition: Edition = "auto",
    task: Literal["next-character", "every-character"] = "next-character",
    client: ClientUnit = "play-role",
    split: Literal["natural", "leaf-iid"] = "natural",
    train_fraction: Fraction = 0.8,
    sample_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0,
    min_samples: NonNegative = 0,
    stride: Positive = 1,
    test_stride: NonNegative = 0,
) -> Dataset:
    """Load the text below ``request.root``.

    Parameters
    ----------
    request : Request
        Where the text is, how many clients to keep, and how much to hold out.
    edition : str, default "auto"
        Which layout to read if several are there: ``plays``, ``tinyshakespeare`` or ``gutenberg``.
    task : str, default "next-character"
        ``next-character`` is LEAF's (80 symbols, the one after a window of 80 characters),
        ``every-character`` that of Reddi et al. (90 tokens, the next one after every position).
    client : str, default "play-role"
        Whether a client is a role of one play, or all roles of one name.
    split : str, default "natural"
        ``leaf-iid`` pools all windows and deals them to new clients *before* the cut into train and test, as
        LEAF's ``-s iid`` does: accuracies come out too high. For clean iid clients leave this at ``natural``
        and set ``partition.name`` to ``iid``.
    train_fraction : float, default 0.8
        Share of a client's windows that are its train part (LEAF's ``--tf``).
    sample_fraction : float, default 1.0
        Share of all windows to use (LEAF's ``--sf``).
    min_samples : int, default 0
        Least number of windows of a client (LEAF's ``-k``), before the cut and at stride 1.
    stride : int, default 1
        Keep every n-th training window.
    test_stride : int, default 0
        The same for validation and test windows; 0 is the value of `stride`.

    Returns
    -------
    Dataset
        Its splits name the natural client of every sample. Clients are numbered by descending number of
        windows, then by key; with ``request.num_clients`` only that number, the first ones, are kept.

    Raises
    ------
    UserError
        If there is no such text, it is malformed, or it has too few clients.
    """
    if request.image_size > 0:
        raise UserError(f"dataset {request.name!r} is text: leave dataset.image-size at 0")
    if request.long_tail:
        raise UserError(
            f"dataset.imbalance-factor is for images, and {request.name!r} is text: leave it at 1"
        )
    roles, description = read_roles(request.root, edition)
    roles = group_by_client(roles, client)
    if task == "every-character":
        leaf_only = {
            "split": split != "natural",
            "sample-fraction": sample_fraction != 1,
            "stride": stride != 1,
            "test-stride": test_stride > 1,
        }
        for key in (key for key, is_set in leaf_only.items() if is_set):
            raise UserError(f"dataset.{key} is for dataset.task 'next-character' only: leave it out")
        return _every_character(request, roles, description, train_fraction, min_samples)

    texts = [client_text(role) for role in roles]
    tokens, num_unknown = LEAF.encode("".join(texts))
    starts = window_starts([len(text) for text in texts])
    clients = [
        Client(client_key(role), windows) for role, windows in zip(roles, starts, strict=True) if len(windows)
    ]
    if not clients:
        raise UserError(
            f"dataset 'shakespeare': no role has a text of more than 80 characters ({description})"
        )
    generator = numpy_generator(request.seed, "sampling")
    if split == "leaf-iid":
        clients = deal_windows(clients, sample_fraction, request.num_clients or len(clients), generator)
    elif sample_fraction < 1:
        clients = sample_clients(clients, sample_fraction, generator)
    clients = [client for client in clients if client.size >= min_samples]
    found = split_clients(clients, train_fraction, request.validation_fraction)
    kept = keep_largest(found, request.num_clients)

    def make_split(part: Callable[[SplitClient], IndexArray], step: int) -> Split:
        chosen = [part(client)[::step] for client in kept]
        return _split(*cut_out(tokens, np.concatenate(chosen)), chosen)

    return _dataset(
        request,
        make_split(lambda client: client.train, stride),
        make_split(lambda client: client.validation, test_stride or stride),
        make_split(lambda client: client.test, test_stride or stride),
        LEAF.names(),
        kept,
        _remarks(description, kept, found, num_unknown, "as spaces"),
    )


def keep_largest(clients: Sequence[_S], num_clients: int | None) -> list[_S]:
    """Return the largest clients, in descending order of size and then ascending order of key.

    Raises
    ------
    UserError
        If there are fewer than asked for.
    """
    if len(clients) < (num_clients or 1):
        raise UserError(
            f"dataset 'shakespeare': clients.count is {num_clients}, but only {len(clients)} clients have"
            " enough text for a train and a test part: lower clients.count (or dataset.min-samples, or raise"
            " dataset.sample-fraction)"
        )
    return sorted(clients, key=lambda client: (-client.size, client.key))[:num_clients]


def _every_character(
    request: Request, roles: Sequence[Role], description: str, train_fraction: float, min_samples: int
) -> Dataset:
    found: list[SequenceClient] = []
    num_unknown = 0
    for role in roles:
        client, unknown = split_role(client_key(role), role, train_fraction, request.validation_fraction)
        if client is not None and client.size >= min_samples:
            found.append(client)
            num_unknown += unknown
    kept = keep_largest(found, request.num_clients)

    def make_split(part: Callable[[SequenceClient], npt.NDArray[np.uint8]]) -> Split:
        sequences = [part(client) for client in kept]
        return _split(*inputs_and_targets(np.concatenate(sequences)), sequences)

    return _dataset(
        request,
        make_split(lambda client: client.train),
        make_split(lambda client: client.validation),
        make_split(lambda client: client.test),
        TFF.names(),
        kept,
        _remarks(description, kept, found, num_unknown, "as out of vocabulary"),
    )


def _split(inputs: npt.NDArray[np.uint8], targets: IndexArray, of_client: Sequence[Part]) -> Split:
    clients = np.repeat(np.arange(len(of_client), dtype=np.int64), [len(part) for part in of_client])
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(clients))


def _dataset(
    request: Request,
    train: Split,
    validation: Split,
    test: Split,
    class_names: tuple[str, ...],
    kept: Sequence[_Sized],
    remarks: tuple[str, ...],
) -> Dataset:
    if request.validation_fraction > 0 and len(validation) == 0:
        raise UserError(
            f"dataset.validation-fraction {request.validation_fraction} is too small for this text: no"
            " client's train part is long enough"
        )
    return Dataset(
        name="shakespeare",
        train=train,
        validation=validation if request.validation_fraction > 0 else None,
        test=test,
        num_classes=len(class_names),
        class_names=class_names,
        mean=(),
        std=(),
        client_names=tuple(client.key for client in kept),
        remarks=remarks,
        kind="tokens",
    )


def _remarks(
    description: str, kept: Sequence[_Sized], found: Sequence[_Sized], num_unknown: int, counted: str
) -> tuple[str, ...]:
    remarks = [f"the text is {description}; natural clients: the {len(kept)} largest of {len(found)}"]
    if num_unknown:
        remarks.append(
            f"characters of the text that are not in the vocabulary, and count {counted}: {num_unknown}"
        )
    return tuple(remarks)
