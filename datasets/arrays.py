"""The parts of a plug-in's data set: arrays, or objects that are converted to arrays once.

A file ``DIR/datasets/my_data.py`` of a plug-in folder defines ``load(root, *, <parameters>)``, which returns
`Arrays`; ``from_arrays`` converts them to the `datasets.dataset.Dataset` that the rest of the project uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from common.errors import UserError
from datasets.client_data.natural import keep_largest, number_clients
from datasets.conversion import Part, as_inputs, as_part, kind_of
from datasets.dataset import Dataset, Kind, Split
from datasets.features import standardized
from datasets.hold_out import hold_out
from datasets.images.decoding import channel_statistics, fit
from datasets.images.loading import finish_images
from datasets.request import Request
from datasets.tables import Encoder
from datasets.targets import Targets


@dataclass(frozen=True, eq=False)
class Arrays:
    """The parts of a data set as its author provides them.

    Attributes
    ----------
    train, test, validation : pair, torch ``Dataset`` or pandas ``DataFrame``
        ``(inputs, targets)``, or ``(inputs, targets, clients)``: NumPy arrays, tensors or lists of equal
        length. A torch ``Dataset`` yields pairs. In a ``DataFrame`` the column `label` is the target, and
        the others must be numeric.
    kind : {"auto", "images", "features", "tokens"}
        ``auto``: uint8 of three or four dimensions are images, ``(samples, height, width)``, ``(samples,
        channels, height, width)`` or with the channels last; everything else is features, of any shape.
        Tokens are integers, ``(samples, length)``.
    class_names : sequence of str
        The classes: integer targets are indices into them, other targets are their names. If empty, targets
        that are not floating-point numbers are classes, each named by its own value.
    label, client : str
        Columns of a ``DataFrame``: the target (see `train`), and the client of each sample.
    remarks : sequence of str
        Notes for the user, shown at the start of a run.
    encoder : Encoder, optional
        The encoding of a table's columns, so that rows of other tables can be encoded in the same way.
    client_names : sequence of str
        Names of the clients, largest first, if clients are integers from 0; empty: named by value.
    num_tokens : int
        Vocabulary size for tokens whose targets are classes. 0: targets are tokens, too, unless they are
        strings, or there are fewer `class_names` than tokens.
    test_fraction : float
        Share of the training samples that become the test set if `test` is None, chosen by the seed.

    Floating-point targets, ``(samples,)`` or ``(samples, numbers)``, make it a regression. Clients are
    strings or integers.
    """

    train: Any
    test: Any = None
    validation: Any = None
    kind: Literal["auto", "images", "features", "tokens"] = "auto"
    class_names: Sequence[str] = ()
    label: str = ""
    client: str = ""
    remarks: Sequence[str] = ()
    encoder: Encoder | None = None
    client_names: Sequence[str] = ()
    num_tokens: int = 0
    test_fraction: float = 0.0


def from_arrays(arrays: Arrays, request: Request) -> Dataset:
    """Convert and check arrays, number classes and clients, and normalise.

    Raises
    ------
    UserError
        If shapes, types or values do not fit each other or the request.
    """
    name = request.name
    parts = {
        part: as_part(value, f"dataset '{name}', {part}", arrays.label, arrays.client)
        for part in ("train", "test", "validation")
        if (value := getattr(arrays, part)) is not None
    }
    if missing := [part for part in ("train", "test") if part not in parts]:
        if missing != ["test"] or not arrays.test_fraction:
            raise UserError(f"dataset '{name}' has no part '{missing[0]}'")
    elif arrays.test_fraction:
        raise UserError(f"dataset '{name}' has test samples: leave dataset.test-fraction at 0")
    kind: Kind = kind_of(parts["train"].inputs) if arrays.kind == "auto" else arrays.kind
    inputs = _inputs(parts, kind, request)
    targets = Targets.of(
        parts["train"].targets, name, tuple(arrays.class_names), request.numbers, kind == "tokens"
    )
    coded = {part: targets.coded(values.targets, part) for part, values in parts.items()}
    owners, client_names = number_clients(
        {part: values.clients for part, values in parts.items()}, name, tuple(arrays.client_names)
    )
    splits = {part: Split(inputs[part], coded[part], owners.get(part)) for part in parts}
    remarks = list(arrays.remarks)
    if "test" not in splits:
        whole = splits["train"]
        splits["train"], splits["test"] = hold_out(
            whole, arrays.test_fraction, "test-fraction", "test-split", request.seed
        )
        remarks.append(
            f"{len(splits['test'])} of {len(whole)} samples are the test set (dataset.test-fraction)"
        )
    num_classes = 0 if targets.are_numbers else len(targets.class_names)
    num_tokens = arrays.num_tokens
    if kind == "tokens" and num_classes and not num_tokens:
        count = 1 + max(int(values.max()) for values in inputs.values())
        if not targets.are_indices or (arrays.class_names and count > num_classes):
            num_tokens = count
        elif count > num_classes:  # targets are tokens, not all of which need be among them
            num_classes = count
            remarks.append(
                f"the targets are taken for tokens of a vocabulary of {count}: if they are classes, name"
                " them (dataset.classes)"
            )
    names = (*targets.class_names, *map(str, range(len(targets.class_names), num_classes)))
    dataset = Dataset(
        name=name,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits["test"],
        num_classes=num_classes,
        class_names=names,
        mean=(),
        std=(),
        client_names=client_names,
        remarks=tuple(remarks),
        kind=kind,
        encoder=arrays.encoder,
        num_tokens=num_tokens,
    )
    _check(dataset, request)
    if request.num_clients and client_names:
        dataset = keep_largest(dataset, request.num_clients)
    return _finished(dataset, request)


def _inputs(parts: dict[str, Part], kind: Kind, request: Request) -> dict[str, torch.Tensor]:
    inputs = {
        part: as_inputs(values.inputs, kind, f"dataset '{request.name}', {part}")
        for part, values in parts.items()
    }
    if kind == "images" and request.image_size:
        inputs = {
            part: torch.from_numpy(fit(values.numpy(), request.image_size)) for part, values in inputs.items()
        }
    for part, values in inputs.items():
        if values.shape[1:] != inputs["train"].shape[1:]:
            shapes = (tuple(values.shape[1:]), tuple(inputs["train"].shape[1:]))
            raise UserError(
                f"dataset '{request.name}': a sample of '{part}' has the shape {shapes[0]}, one of 'train'"
                f" {shapes[1]}"
            )
        if len(values) != len(parts[part].targets):
            raise UserError(
                f"dataset '{request.name}', {part}: {len(values)} inputs, {len(parts[part].targets)} targets"
            )
        owners = parts[part].clients
        if owners is not None and len(owners) != len(values):
            raise UserError(f"dataset '{request.name}', {part}: {len(values)} inputs, {len(owners)} clients")
    return inputs


def _check(dataset: Dataset, request: Request) -> None:
    """Refuse settings of the request that do not apply to the data."""
    what = {"images": "images", "features": "features", "tokens": "text"}[dataset.kind]
    if request.image_size and dataset.kind != "images":
        raise UserError(f"dataset '{request.name}' has {what}: leave dataset.image-size at 0")
    if request.long_tail and (dataset.is_regression or dataset.target_shape):
        raise UserError(
            f"dataset.imbalance-factor needs a class per sample, and '{request.name}' has none: leave it at 1"
        )
    if dataset.validation is not None and request.validation_fraction:
        raise UserError(
            f"dataset '{request.name}' has validation samples: leave dataset.validation-fraction at 0"
        )
    known = {"images": ("dataset", "imagenet", "half", "none"), "features": ("dataset", "none")}
    if request.normalization not in known.get(dataset.kind, ("dataset",)):
        raise UserError(
            f"dataset.normalization '{request.normalization}' is for images, and '{request.name}' has {what}:"
            f" set it to {' or '.join(map(repr, known.get(dataset.kind, ('dataset',))))}"
        )


def _finished(dataset: Dataset, request: Request) -> Dataset:
    """Return the data set normalised, long-tailed and with samples held out, as asked for."""
    if dataset.kind == "images":
        mean, std = channel_statistics(dataset.train.inputs.numpy())
        return finish_images(replace(dataset, mean=mean, std=std), request)
    if dataset.kind == "features":
        dataset = standardized(dataset, scale=request.normalization == "dataset")
    train, validation = dataset.train, dataset.validation
    if request.long_tail:
        train = train.subset(request.long_tail.indices(train.labels(), dataset.num_classes, request.seed))
    if request.validation_fraction > 0:
        train, validation = hold_out(
            train, request.validation_fraction, "validation-fraction", "validation", request.seed
        )
    return replace(dataset, train=train, validation=validation)
