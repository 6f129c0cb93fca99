import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.records import (
    content_bytes,
    num_bytes,
    rows_to_arrays,
    to_array,
    to_ndarray,
    to_payload,
    to_record,
    to_tensors,
)

ARRAYS = {
    "float32": np.array([[0.1, -0.0, np.inf], [np.nan, 1e-45, 3.4e38]], np.float32),
    "float64": np.array([np.pi, -np.nan, 5e-324]),
    "float16": np.array([1.5, 65504], np.float16),
    "int64": np.array([2**63 - 1, -(2**63)]),
    "int32": np.array([[7], [-8]], np.int32),
    "uint8": np.arange(256, dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "0-d": np.array(3, np.int64),
    "0-d float": np.array(-0.0, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "Fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "strided": np.arange(12, dtype=np.float64).reshape(3, 4)[::2, ::-1],
    "large": np.arange(20_000, dtype=np.float64),
    "large and strided": np.arange(40_000, dtype=np.float64)[::2],
    "big-endian": np.array([1, 2], ">f4"),
}


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_round_trip_is_bit_exact(name: str) -> None:
    array = to_array(ARRAYS[name])
    assert_same_bits(to_ndarray(array), ARRAYS[name])
    assert_same_bits(array.numpy(), ARRAYS[name])  # Flower's decoder reads our bytes
    assert_same_bits(to_ndarray(Array(ARRAYS[name])), ARRAYS[name])  # and ours reads Flower's


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "Fortran"])
def test_bytes_are_flowers(name: str) -> None:
    ours, flowers = to_array(ARRAYS[name]), Array(ARRAYS[name])
    assert (ours.dtype, ours.shape, ours.stype) == (flowers.dtype, flowers.shape, flowers.stype)
    assert ours.data == flowers.data


@settings(max_examples=80)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    )
)
def test_any_array_makes_the_round_trip(ndarray: np.ndarray) -> None:
    array = to_array(ndarray)
    assert array.data == Array(ndarray).data
    assert_same_bits(to_ndarray(array), ndarray)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4, 4)])
def test_tensors_make_the_round_trip(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1)).mul(10).to(dtype)
    back = to_tensors(to_record({"x": tensor}))["x"]
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)


def test_memory_layout_does_not_matter() -> None:
    tensor = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    channels_last = tensor.to(memory_format=torch.channels_last)
    assert not channels_last.is_contiguous()
    assert to_array(channels_last).data == to_array(tensor).data
    assert (
        to_array(tensor[:, 1:, ::2].transpose(0, 1)).data
        == Array(tensor[:, 1:, ::2].transpose(0, 1).numpy().copy(order="C")).data
    )


@settings(max_examples=80)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_rows_of_a_stack_are_serialised_as_one_by_one(stacked: np.ndarray, is_strided: bool) -> None:
    tensor = torch.from_numpy(np.asfortranarray(stacked) if is_strided else stacked)
    arrays = list(rows_to_arrays(tensor))
    assert len(arrays) == len(tensor)
    for array, row in zip(arrays, tensor, strict=True):
        alone = to_array(row)
        assert (array.dtype, array.shape, array.data) == (alone.dtype, alone.shape, alone.data)


def test_what_has_been_serialised_is_not_again() -> None:
    values = {"weight": torch.zeros(2), "bias": torch.ones(1)}
    made = to_array(values["weight"])
    record = to_record(values, {id(values["weight"]): made})
    assert record["weight"] is made
    assert to_ndarray(record["bias"]).tolist() == [1.0]


def test_a_trained_parameter_is_serialised_without_its_graph() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    assert to_ndarray(to_array(parameter)).tolist() == [1.0, 2.0]


def test_serialising_copies_and_reading_does_not() -> None:
    tensor = torch.zeros(3)
    array = to_array(tensor)
    tensor.fill_(1.0)
    view = to_ndarray(array)
    assert view.tolist() == [0.0, 0.0, 0.0]
    assert not view.flags.writeable
    assert np.shares_memory(view, np.frombuffer(array.data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1.0


def test_names_keep_their_order() -> None:
    section = {"z": torch.zeros(1), "a": torch.ones(1), "m": torch.ones(2)}
    assert list(to_tensors(to_record(section))) == ["z", "a", "m"]


def test_sections_and_their_sizes() -> None:
    content = RecordDict(
        {
            "arrays": to_record({"w": torch.zeros(2, 3), "n": torch.tensor(1)}),
            "control": ArrayRecord({"w": Array(np.zeros(5, np.float64))}),
            "config": ConfigRecord({"server-round": 1}),
        }
    )
    sections = to_payload(content)
    assert set(sections) == {"arrays", "control"}
    assert sections["control"]["w"].dtype == torch.float64
    assert num_bytes(content.array_records["arrays"]) == 6 * 4 + 8
    assert content_bytes(content) == 6 * 4 + 8 + 5 * 8
