import math

import torch

from models.measures.confusion import confusion, scores


def test_counts_and_scores_by_hand() -> None:
    matrix = confusion(torch.tensor([0, 0, 0, 1, 2, -100]), torch.tensor([0, 0, 1, 1, 1, 0]), 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    recall, precision, f1 = (values.tolist() for values in scores(matrix))
    assert recall[:3] == [2 / 3, 1, 0]
    assert precision[:2] == [1, 1 / 3]
    assert f1[:3] == [4 / 5, 1 / 2, 0]
    assert all(math.isnan(value) for value in (recall[3], precision[2], precision[3], f1[3]))
