from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from common.errors import UserError
from datasets.arrays import Arrays, from_arrays
from datasets.dataset import Dataset
from datasets.request import Request

LABELS = np.array([0, 1, 2, 1, 0, 2])


def loaded(train: Any, test: Any = None, request: dict[str, Any] | None = None, **arrays: Any) -> Dataset:
    given = Arrays(train, train if test is None else test, **arrays)
    return from_arrays(given, Request("mine", Path("."), **(request or {})))


def message(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(UserError) as caught:
        loaded(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_have_mean_0_and_spread_1_in_the_training_set() -> None:
    inputs = np.array([[1.0, 10], [3, 10], [5, 10]])
    data = loaded((inputs, [0, 1, 1]), ([[3.0, 12]], [1]))
    assert (data.kind, data.input_shape, data.train.inputs.dtype) == ("features", (2,), torch.float32)
    scale = np.sqrt(8 / 3)
    np.testing.assert_allclose(data.train.inputs[:, 0], [-2 / scale, 0, 2 / scale], rtol=1e-6)
    assert data.train.inputs[:, 1].tolist() == [0, 0, 0]  # a constant column
    assert data.test.inputs.tolist() == [[0, 2]]


def test_a_constant_that_float32_does_not_hold_is_0_and_a_large_offset_costs_no_digits() -> None:
    inputs = np.stack([np.full(1000, 0.1), 1.6e9 + np.arange(1000.0)], axis=1)
    data = loaded((inputs, np.arange(1000) % 2))
    assert not data.train.inputs[:, 0].any()
    np.testing.assert_allclose(np.diff(data.train.inputs[:, 1]), 1 / np.std(np.arange(1000.0)), rtol=1e-3)


def test_normalization_none_leaves_features_as_they_are() -> None:
    assert loaded(([[1.5], [2.5]], [0, 1]), request={"normalization": "none"}).train.inputs.tolist() == [
        [1.5],
        [2.5],
    ]


@pytest.mark.parametrize(("shape", "axis"), [((6, 5, 3), 2), ((6, 2, 4, 4), 1)])
def test_series_and_maps_are_standardised_by_value_and_by_channel(shape: tuple[int, ...], axis: int) -> None:
    inputs = np.random.default_rng(0).normal(3, 2, shape)
    data = loaded((inputs, LABELS))
    assert data.input_shape == shape[1:]
    others = tuple(dim for dim in range(len(shape)) if dim != axis)
    np.testing.assert_allclose(data.train.inputs.numpy().mean(others), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.inputs.numpy().std(others), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "expected"), [((6, 4, 5), (1, 4, 5)), ((6, 3, 4, 5), (3, 4, 5)), ((6, 4, 5, 3), (3, 4, 5))]
)
def test_bytes_are_images(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = loaded((pixels, LABELS))
    assert (data.kind, data.input_shape, data.train.inputs.dtype) == ("images", expected, torch.uint8)
    assert data.mean == pytest.approx(data.train.inputs.numpy().mean(axis=(0, 2, 3)) / 255)
    assert loaded((pixels, LABELS), request={"image_size": 8}).input_shape == (expected[0], 8, 8)


def test_tokens_and_labels_per_position() -> None:
    tokens = np.array([[0, 4, 2], [1, 1, 3]])
    data = loaded((tokens, [1, 0]), kind="tokens")
    assert (data.is_text, data.num_classes, data.target_shape) == (True, 5, ())
    assert data.train.inputs.tolist() == tokens.tolist()
    each = loaded((tokens, [[4, 2, -100], [1, 6, 3]]), kind="tokens")
    assert (each.num_classes, each.target_shape) == (7, (3,))


def test_classes_of_texts_are_no_tokens() -> None:
    """Targets that are texts are none, nor are numbers with fewer names than there are tokens."""
    tokens = np.array([[0, 4, 2], [1, 1, 3]])
    for targets, names in ((["sad", "glad"], ()), ([1, 0], ("glad", "sad"))):
        data = loaded((tokens, targets), kind="tokens", class_names=names)
        assert (data.num_classes, data.num_tokens, data.class_names) == (2, 5, ("glad", "sad"))
        assert data.train.targets.tolist() == [1, 0]
    alike = loaded((tokens, [1, 0]), kind="tokens", class_names="abcdef")
    assert (alike.num_classes, alike.num_tokens) == (6, 0)
    assert "taken for tokens of a vocabulary of 5" in loaded((tokens, [1, 0]), kind="tokens").remarks[0]


class Samples(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return torch.full((2,), float(index)), int(LABELS[index])


FORMS: dict[str, Callable[[], Any]] = {
    "numpy": lambda: (np.arange(6.0)[:, None].repeat(2, 1), LABELS),
    "torch": lambda: (torch.arange(6)[:, None].expand(6, 2), torch.from_numpy(LABELS)),
    "lists": lambda: ([[float(i), float(i)] for i in range(6)], LABELS.tolist()),
    "big-endian": lambda: (np.arange(6.0, dtype=">f8")[:, None].repeat(2, 1), LABELS.astype(">i4")),
    "unsigned": lambda: (np.arange(6, dtype=np.uint32)[:, None].repeat(2, 1), LABELS.astype(np.uint16)),
    "float-labels": lambda: (np.arange(6.0)[:, None].repeat(2, 1), LABELS[:, None].astype(np.float64)),
    "dataset": Samples,
    "frame": lambda: pd.DataFrame({"a": range(6), "label": LABELS, "b": range(6)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_data(form: str) -> None:
    data = loaded(FORMS[form](), label="label", request={"numbers": False})
    reference = loaded(FORMS["numpy"]())
    assert torch.equal(data.train.inputs, reference.train.inputs)
    assert torch.equal(data.train.targets, reference.train.targets)
    assert data.class_names == ("0", "1", "2")


def test_columns_of_a_frame_may_be_numbers_of_every_kind_and_truth_values() -> None:
    frame = pd.DataFrame({"a": [0.5, 1.5, 1.0], "b": [1, 2, 6], "c": [True, False, True], "y": [0, 1, 0]})
    rows = np.array([[0.5, 1, 1], [1.5, 2, 0], [1, 6, 1]])
    assert torch.equal(
        loaded(frame, label="y", request={"numbers": False}).train.inputs,
        loaded((rows, [0, 1, 0])).train.inputs,
    )
    text = message(frame.assign(d=["u", "v", "w"]), label="y")
    assert "train: column 'd' of the DataFrame must be numbers, not" in text


def test_labels_keep_their_names() -> None:
    data = loaded((np.eye(3), ["cat", "ant", "bee"]))
    assert (data.class_names, data.train.targets.tolist()) == (("ant", "bee", "cat"), [2, 0, 1])
    assert loaded((np.eye(3), [True, False, True])).train.targets.tolist() == [1, 0, 1]
    signs = loaded((np.eye(2), [1, -1]))
    assert (signs.class_names, signs.train.targets.tolist()) == (("-1", "1"), [1, 0])
    named = loaded((np.eye(3), ["b", "b", "a"]), class_names=["b", "a", "never"])
    assert (named.num_classes, named.train.targets.tolist()) == (3, [0, 0, 1])


def test_numbers_of_classes_that_no_sample_has_are_named() -> None:
    (remark,) = loaded((np.eye(3), [1, 5, 2])).remarks
    assert remark.startswith("the training set has no sample of 3 of the 6 classes, such as 0: ")
    for targets, names in (([0, 1, 2], ()), (["a", "c", "b"], ()), ([1, 2, 1], ("a", "b", "c"))):
        assert loaded((np.eye(3), targets), class_names=names).remarks == ()


@pytest.mark.parametrize("column", ["label", "target", "class", "y"])
def test_the_target_of_a_frame_need_not_be_named(column: str) -> None:
    frame = pd.DataFrame({"a": range(6), column: LABELS, "b": range(6)})
    reference = loaded(FORMS["numpy"]())
    data = loaded(frame, request={"numbers": False})
    assert torch.equal(data.train.inputs, reference.train.inputs)
    assert torch.equal(data.train.targets, reference.train.targets)
    assert "the DataFrame has no column 'label'" in message(frame.rename(columns={column: "other"}))


def test_numbers_are_a_regression() -> None:
    data = loaded((np.eye(3), [0.5, 1, 2]))
    assert (data.is_regression, data.num_classes, data.num_outputs, data.target_shape) == (True, 0, 1, ())
    assert loaded((np.eye(3), np.zeros((3, 4)) + 0.5)).num_outputs == 4
    whole = loaded((np.eye(3), [1, 2, 3]), request={"numbers": True})  # the loss says so
    assert whole.is_regression
    assert whole.train.targets.tolist() == [1, 2, 3]


def test_clients_are_numbered_by_size_and_the_largest_kept() -> None:
    owners = ["b", "a", "a", "c", "c", "c"]
    data = loaded((np.arange(6.0), LABELS, owners))
    assert (data.client_names, data.train.clients.tolist()) == (("c", "a", "b"), [2, 1, 1, 0, 0, 0])  # type: ignore[union-attr]
    kept = loaded((np.arange(6.0), LABELS, owners), request={"num_clients": 2})
    assert (len(kept.train), kept.client_names) == (5, ("c", "a"))
    numbers = loaded((np.arange(4.0), [0, 1, 0, 1], [10, 9, 10, 9]))
    assert numbers.client_names == ("9", "10")


def test_held_out_samples_and_an_authors_own() -> None:
    inputs, labels = np.arange(20.0), np.arange(20) % 2
    data = loaded((inputs, labels), request={"validation_fraction": 0.2})
    assert data.validation is not None
    assert (len(data.train), len(data.validation)) == (16, 4)
    assert data.validation.targets.bincount().tolist() == [2, 2]
    own = loaded((inputs, labels), validation=(inputs[:2], labels[:2]))
    assert own.validation is not None
    assert len(own.validation) == 2


@pytest.mark.parametrize(
    ("arguments", "keywords", "text"),
    [
        (((np.eye(3), [0, 1]),), {}, "3 inputs, 2 targets"),
        (((np.eye(3), [0, 1, 0], ["a", "b"]),), {}, "3 inputs, 2 clients"),
        (
            ((np.eye(3), [0, 1, 1]), (np.ones((1, 4)), [0])),
            {},
            r"'test' has the shape (4,), one of 'train' (3,)",
        ),
        (((np.array([[1.0], [np.nan]]), [0, 1]),), {}, "sample 1 has an input that is missing"),
        (((np.empty((0, 2)), []),), {}, "has no samples, or empty ones"),
        (((np.array([["x"]]), [0]),), {}, "must be numbers"),
        ((([[1], [2, 3]], [0, 1]),), {}, "cannot become an array"),
        (((np.eye(2), [0, 1]), (np.eye(2), [0, 7])), {}, "7 is not a class"),
        (((np.eye(2), ["a", "b"]), (np.eye(2), ["a", "z"])), {}, "has the class 'z'"),
        (((np.eye(2), [0.5, np.nan]),), {}, "target of sample 1 is missing"),
        (
            ((np.eye(2), ["a", "b"]),),
            {"request": {"numbers": True}},
            "are classes, and the loss is for numbers",
        ),
        (
            ((np.eye(2), [0.5, 1]),),
            {"request": {"numbers": False}},
            "are numbers, and the loss is for classes",
        ),
        (((np.eye(2), np.eye(2, dtype=int)),), {}, "classes are one per sample"),
        (
            ((np.eye(2), [0, 1], ["a", "b"]), (np.eye(2), [0, 1], ["a", "z"])),
            {},
            "client 'z' has no training",
        ),
        (
            ((np.eye(2), [0, 1]), (np.eye(2), [0, 1], ["a", "b"])),
            {},
            "'test' has clients, and 'train' has none",
        ),
        (((np.eye(2), [0, 1], ["a", "b"]),), {"request": {"num_clients": 3}}, "has 2 clients: lower it"),
        (((np.eye(2), [0, 1]),), {"kind": "images"}, "images are uint8"),
        (((np.eye(2), [0, 1]),), {"kind": "tokens"}, "tokens are integers"),
        (((np.eye(2), [0, 1]),), {"request": {"image_size": 8}}, "leave dataset.image-size at 0"),
        (((np.eye(2), [0, 1]),), {"request": {"normalization": "half"}}, "'dataset' or 'none'"),
        (
            ((np.full((2, 1), 1e300), [0, 1]),),
            {"request": {"normalization": "none"}},
            "too large for float32",
        ),
        ((pd.DataFrame({"a": [1]}),), {"label": "b"}, "no column 'b'"),
        ((7,), {}, "not int"),
    ],
)
def test_what_does_not_go_together_is_one_line(arguments: Any, keywords: dict[str, Any], text: str) -> None:
    assert text in message(*arguments, **keywords)


@settings(max_examples=150)
@given(
    inputs=arrays_of.arrays(
        st.one_of(arrays_of.scalar_dtypes(), arrays_of.unicode_string_dtypes()),
        arrays_of.array_shapes(min_dims=0, max_dims=4, max_side=4, min_side=0),
    ),
    targets=arrays_of.arrays(
        st.one_of(arrays_of.scalar_dtypes(), arrays_of.unicode_string_dtypes()),
        arrays_of.array_shapes(min_dims=0, max_dims=3, max_side=4, min_side=0),
    ),
    kind=st.sampled_from(["auto", "images", "features", "tokens"]),
    numbers=st.sampled_from([None, True, False]),
)
def test_any_arrays_are_a_data_set_or_one_line(
    inputs: Any, targets: Any, kind: str, numbers: bool | None
) -> None:
    problem = None
    try:
        data = loaded((inputs, targets), kind=kind, request={"numbers": numbers})
    except UserError as error:
        problem = str(error)
    if problem is not None:
        assert "\n" not in problem
        return
    assert len(data.train) == len(data.train.inputs) > 0
    assert data.is_regression == (data.num_classes == 0)
    if not data.is_regression:
        assert int(data.train.targets.max()) < data.num_classes == len(data.class_names)
