"""The parts of a plug-in's data set: arrays, or objects that are converted to arrays once.

A file ``DIR/datasets/my_data.py`` of a plug-in folder defines ``load(root, *, <parameters>)``, which returns
`Arrays`; ``from_arrays`` converts them to the `datasets.dataset.Dataset` that the rest of the project uses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
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
from datasets.words import Sentences


class Fitted(Protocol):
    """An encoder of inputs that has seen the rows that are trained on, and no others."""

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary; 0 if the inputs are not tokens."""

    def encoded(self, inputs: Any) -> npt.NDArray[Any]:
        """Return the inputs of a part as numbers."""

    def remark(self, train: npt.NDArray[Any]) -> str:
        """Return a note for the user, given the encoded training inputs."""


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
        Columns of a ``DataFrame``: the target, by default ``label``, ``target``, ``class`` or ``y``, and the
        client of each sample.
    remarks : sequence of str
        Notes for the user, shown at the start of a run.
    fit : callable, optional
        For inputs whose encoding depends on what is in them, such as the words of a vocabulary: called with
        the training inputs and the rows of them to learn it from, none that are held out. `kind` is then
        not ``auto``, and inputs are anything with a length that the encoder takes.
    client_names : sequence of str
        Names of the clients, largest first, if clients are integers from 0; empty: named by value.
    num_tokens : int
        Vocabulary size for tokens whose targets are classes. 0: targets are tokens, too, unless they are
        strings, or there are fewer `class_names` than tokens.
    vocabulary : sequence of str
        The words that tokens stand for, in order, if they were chosen from the data.
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
    fit: Callable[[Any, npt.NDArray[np.int64]], Fitted] | None = None
    client_names: Sequence[str] = ()
    num_tokens: int = 0
    vocabulary: Sequence[str] = ()
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
    given = {part: values.inputs for part, values in parts.items()}
    inputs = {} if arrays.fit else _inputs(given, kind, request)
    _check_lengths(inputs or given, parts, name)
    targets = Targets.of(
        parts["train"].targets, name, tuple(arrays.class_names), request.numbers, kind == "tokens"
    )
    coded = {part: targets.coded(values.targets, part) for part, values in parts.items()}
    owners, client_names = number_clients(
        {part: values.clients for part, values in parts.items()}, name, tuple(arrays.client_names)
    )
    # Until all is held out that is to be, the inputs are the numbers of the rows.
    splits = {part: Split(torch.arange(len(coded[part])), coded[part], owners.get(part)) for part in parts}
    remarks = list(arrays.remarks)
    if not arrays.class_names and kind != "tokens" and (remark := targets.remark(coded["train"])):
        remarks.append(remark)
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
    if inputs and kind == "tokens" and num_classes and not num_tokens:
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
        num_tokens=num_tokens,
        vocabulary=tuple(arrays.vocabulary),
    )
    _check(dataset, request)
    if request.num_clients and client_names:
        dataset = keep_largest(dataset, request.num_clients)
    if kind == "images":
        dataset = _with_inputs(dataset, inputs)
        mean, std = channel_statistics(dataset.train.inputs.numpy())
        return finish_images(replace(dataset, mean=mean, std=std), request)
    return _finished(dataset, arrays, given, inputs, request)


def _check_lengths(inputs: Mapping[str, Any], parts: Mapping[str, Part], name: str) -> None:
    for part, values in parts.items():
        count = len(inputs[part])
        if count != len(values.targets):
            raise UserError(f"dataset '{name}', {part}: {count} inputs, {len(values.targets)} targets")
        if values.clients is not None and len(values.clients) != count:
            raise UserError(f"dataset '{name}', {part}: {count} inputs, {len(values.clients)} clients")


def _inputs(given: Mapping[str, Any], kind: Kind, request: Request) -> dict[str, torch.Tensor]:
    """Return the inputs of each part as tensors."""
    inputs = {
        part: as_inputs(values, kind, f"dataset '{request.name}', {part}") for part, values in given.items()
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


def _finished(
    dataset: Dataset,
    arrays: Arrays,
    given: Mapping[str, Any],
    inputs: dict[str, torch.Tensor],
    request: Request,
) -> Dataset:
    """Return the data set with the inputs of its rows: long-tailed, held out, encoded, standardised."""
    whole, train, validation = dataset.train, dataset.train, dataset.validation
    if request.long_tail:
        train = train.subset(request.long_tail.indices(train.labels(), dataset.num_classes, request.seed))
    if request.validation_fraction > 0:
        train, validation = hold_out(
            train, request.validation_fraction, "validation-fraction", "validation", request.split_seed
        )
    held_out = [
        part.inputs.numpy()
        for part, source in ((dataset.test, arrays.test), (validation, arrays.validation))
        if part is not None and source is None
    ]
    if arrays.fit:
        fitted = arrays.fit(given["train"], _without(torch.arange(len(given["train"])), held_out))
        encoded = {part: fitted.encoded(values) for part, values in given.items()}
        inputs = _inputs(encoded, dataset.kind, request)
        dataset = replace(
            dataset,
            remarks=(*dataset.remarks, fitted.remark(encoded["train"])),
            num_tokens=fitted.num_tokens,
            encoder=fitted if isinstance(fitted, Encoder) else None,
            vocabulary=fitted.known.words if isinstance(fitted, Sentences) else (),
        )
    dataset = _with_inputs(replace(dataset, train=train, validation=validation), inputs)
    if dataset.kind != "features":
        return dataset
    learned_from = torch.from_numpy(_without(whole.inputs, held_out))
    return standardized(
        dataset, inputs["train"].index_select(0, learned_from), scale=request.normalization == "dataset"
    )


def _without(rows: torch.Tensor, held_out: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return the rows that are not held out, ascending."""
    return np.setdiff1d(rows.numpy(), np.concatenate([np.empty(0, np.int64), *held_out]))


def _with_inputs(dataset: Dataset, inputs: Mapping[str, torch.Tensor]) -> Dataset:
    """Return the data set with inputs in place of the numbers of their rows."""

    def filled(split: Split, part: str) -> Split:
        values = inputs[part if part in inputs else "train"]
        is_whole = torch.equal(split.inputs, torch.arange(len(values)))  # needs no copy
        return replace(split, inputs=values if is_whole else values.index_select(0, split.inputs))

    validation = dataset.validation
    return replace(
        dataset,
        train=filled(dataset.train, "train"),
        test=filled(dataset.test, "test"),
        validation=None if validation is None else filled(validation, "validation"),
    )
