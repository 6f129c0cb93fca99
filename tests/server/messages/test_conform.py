import re

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.records import to_ndarray
from server.messages.conform import conform
from tests.strategies.messages import record

REFERENCE = record({"w": [1.0, 2.0], "n": torch.tensor(7), "mask": torch.tensor([True, False])})


def test_what_fits_is_returned_as_it_is() -> None:
    new = record({"w": [3.0, 4.0], "n": torch.tensor(9), "mask": torch.tensor([False, True])})
    result = conform(new, REFERENCE, "it")
    assert list(result) == list(REFERENCE)
    assert all(result[name].data == new[name].data for name in new)


def test_integers_and_booleans_get_their_dtype_back() -> None:
    # Flower's strategies average integer buffers to float64.
    new = record({"n": np.array(8.6), "mask": np.array([1.0, 0.0]), "w": np.array([1.25, 2.5])})
    result = conform(new, REFERENCE, "it")
    assert (result["n"].dtype, to_ndarray(result["n"]).item()) == ("int64", 8)
    assert (result["mask"].dtype, to_ndarray(result["mask"]).tolist()) == ("bool", [True, False])
    assert (result["w"].dtype, to_ndarray(result["w"]).tolist()) == ("float32", [1.25, 2.5])
    assert result["n"].shape == ()


def test_the_order_is_the_models() -> None:
    new = record({"mask": torch.tensor([False, True]), "n": torch.tensor(1), "w": [0.0, 0.0]})
    assert list(conform(new, REFERENCE, "it")) == ["w", "n", "mask"]


def test_missing_names_stay() -> None:
    result = conform(record({"w": [5.0, 6.0]}), REFERENCE, "it")
    assert to_ndarray(result["w"]).tolist() == [5.0, 6.0]
    assert result["n"].data == REFERENCE["n"].data
    assert result["mask"].data == REFERENCE["mask"].data


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"mas": [1.0]}, "'mas', which is not an entry of the model; did you mean 'mask'"),
        ({"w": [1.0]}, "'w' of shape (1,), which is (2,) in the model"),
        ({"w": [[1.0, 2.0]]}, "'w' of shape (1, 2), which is (2,) in the model"),
        ({"n": torch.tensor([1])}, "'n' of shape (1,), which is () in the model"),
        ({"w": torch.tensor([1, 2])}, "'w' as int64: it must be floating-point numbers"),
    ],
)
def test_what_the_model_does_not_have_is_refused(section: dict[str, list[float]], fault: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"what it returns has {fault}")):
        conform(record(section), REFERENCE, "what it returns")
