"""Numbers and bits as bytes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.compressions._bytes import joined, num_bytes, packed, split, unpacked


@given(st.lists(st.booleans(), max_size=40))
def test_bits_come_back(bits: list[bool]) -> None:
    data = packed(torch.tensor(bits, dtype=torch.bool))
    assert (data.dtype, len(data)) == (torch.uint8, num_bytes(len(bits)))
    assert unpacked(data, len(bits)).tolist() == bits


def test_the_first_bit_is_the_lowest() -> None:
    assert packed(torch.tensor([True, False, True])).tolist() == [5]


def test_numbers_come_back_from_any_place() -> None:
    data = joined(
        torch.tensor([7], dtype=torch.uint8), torch.tensor([1.5, -2.0]), torch.tensor([2**30]).int()
    )
    assert len(data) == 1 + 8 + 4
    first, values, last = split(data, (torch.uint8, 1), (torch.float32, 2), (torch.int32, 1))
    assert (first.tolist(), values.tolist(), last.tolist()) == ([7], [1.5, -2.0], [2**30])


def test_other_numbers_of_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes instead of 4"):
        split(torch.zeros(3, dtype=torch.uint8), (torch.float32, 1))
    with pytest.raises(ValueError, match="1 bytes instead of 2"):
        unpacked(torch.zeros(1, dtype=torch.uint8), 9)
    with pytest.raises(ValueError, match="after the last"):
        unpacked(torch.tensor([8], dtype=torch.uint8), 3)
