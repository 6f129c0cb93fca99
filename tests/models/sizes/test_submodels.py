import pytest
import torch

from models.sizes.submodels import EntrySelection, leading, mesh, take


def test_parts_of_a_matrix() -> None:
    matrix = torch.arange(12).view(3, 4)
    rows, columns = torch.tensor([2, 0]), torch.tensor([1, 3, 0])
    assert take(matrix, (rows, columns)).tolist() == [[9, 11, 8], [1, 3, 0]]
    assert take(matrix, (rows, None)).tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
    assert take(matrix, (None, columns)).tolist() == [[1, 3, 0], [5, 7, 4], [9, 11, 8]]
    assert take(matrix, ()) is matrix


def test_parts_of_a_convolution_keep_the_kernel() -> None:
    weight = torch.arange(2 * 3 * 4.0).view(2, 3, 2, 2)
    part = take(weight, (torch.tensor([1]), torch.tensor([2, 0]), None, None))
    assert torch.equal(part, weight[1:][:, [2, 0]])


def test_a_part_can_be_written_by_the_same_key() -> None:
    matrix = torch.zeros(3, 3)
    matrix[mesh((torch.tensor([2, 0]), torch.tensor([1])))] += torch.tensor([[5.0], [6.0]])
    assert matrix.tolist() == [[0, 6, 0], [0, 0, 0], [0, 5, 0]]


def test_indices_that_are_not_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="adjacent dimensions"):
        mesh((torch.tensor([0]), None, torch.tensor([0])))


def test_leading_channels() -> None:
    assert leading(4, 4) is None
    chosen = leading(4, 3)
    assert chosen is not None
    assert chosen.tolist() == [0, 1, 2]


def test_entries_that_are_not_held_are_left_out() -> None:
    section = {"a": torch.zeros(2), "b": torch.ones(3)}
    assert list(EntrySelection({"b": ()}).take(section)) == ["b"]
