"""What arrives of a change, in closed form, and what the papers prove of the error."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.chosen import chosen_object
from common.compressions import Compression, compression_generator, compression_of
from common.config import Config
from common.errors import UserError
from common.plugin_kinds import COMPRESSION
from common.plugins import names
from common.sections import Value
from tests.common.configs import make_config

ALL = [name for name in names(COMPRESSION) if name != "none"]
Vectors = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50)


def config_with(name: str, **parameters: Value) -> Config:
    keys = {key.replace("_", "-"): value for key, value in parameters.items()}
    return make_config({"compression.name": name, **{f"compression.{key}": keys[key] for key in keys}})


def made(name: str, **parameters: Value) -> Compression:
    return chosen_object(COMPRESSION, config_with(name, **parameters).compression, Compression)


def generator(index: int = 0) -> torch.Generator:
    return compression_generator(0, 1, 2, index)


def arrived(compression: Compression, change: torch.Tensor, index: int = 0) -> torch.Tensor:
    data = compression.encode(change, generator(index))
    assert (data.dtype, data.ndim) == (torch.uint8, 1)
    return compression.decode(data, len(change), change.dtype, generator(index))


def num_bytes(compression: Compression, size: int) -> int:
    return len(compression.encode(torch.randn(size), generator()))


class TestTopK:
    def test_the_largest_magnitudes_arrive(self) -> None:
        change = torch.tensor([3.0, -5.0, 1.0, 0.0])
        assert arrived(made("top-k", fraction=0.5), change).tolist() == [3.0, -5.0, 0.0, 0.0]
        assert arrived(made("top-k", fraction=0.26), change).tolist() == [3.0, -5.0, 0.0, 0.0]  # 2 of 4
        assert arrived(made("top-k", fraction=1.0), change).tolist() == change.tolist()

    def test_places_are_numbers_or_bits_whichever_is_shorter(self) -> None:
        assert num_bytes(made("top-k", fraction=0.01), 1000) == 10 * (4 + 4)
        assert num_bytes(made("top-k", fraction=0.1), 1000) == 125 + 100 * 4

    @given(Vectors, st.floats(0.01, 1))
    def test_the_error_shrinks_by_k_of_d(self, values: list[float], fraction: float) -> None:
        """||v - top_k(v)||^2 <= (1 - k / d) ||v||^2 (Stich et al. 2018)."""
        change, compression = torch.tensor(values, dtype=torch.float64), made("top-k", fraction=fraction)
        kept = (arrived(compression, change + 0) != 0).sum().item()
        error = (change - arrived(compression, change)).square().sum()
        assert error <= (1 - kept / len(change)) * change.square().sum() * (1 + 1e-9)


class TestRandomK:
    def test_right_in_expectation(self) -> None:
        change = torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64)
        compression = made("random-k", fraction=0.5)
        drawn = torch.stack([arrived(compression, change, index) for index in range(2000)])
        assert set(drawn[:, 3].tolist()) == {0.0, 8.0}
        assert (drawn != 0).sum(1).unique().tolist() == [2]
        torch.testing.assert_close(drawn.mean(0), change, rtol=0, atol=0.3)
        assert num_bytes(compression, 1000) == 500 * 4  # no places

    def test_with_error_feedback_values_arrive_as_they_are(self) -> None:
        compression = made("random-k", fraction=0.5)
        compression.error_feedback = True
        assert set(arrived(compression, torch.tensor([7.0, 7.0])).tolist()) == {0.0, 7.0}


class TestQsgd:
    def test_one_level_is_the_norm_or_nothing(self) -> None:
        """For v = (3, -4) and s = 1, xi is 1 with probabilities 0.6 and 0.8."""
        change = torch.tensor([3.0, -4.0], dtype=torch.float64)
        drawn = torch.stack([arrived(made("qsgd", bits=2), change, index) for index in range(4000)])
        assert drawn.unique().tolist() == [-5.0, 0.0, 5.0]
        torch.testing.assert_close(
            (drawn != 0).double().mean(0), torch.tensor([0.6, 0.8]).double(), rtol=0, atol=0.03
        )

    @pytest.mark.parametrize("bits", [2, 3, 5, 8])
    def test_unbiased_with_the_variance_of_lemma_3_1(self, bits: int) -> None:
        size, levels = 40, 2 ** (bits - 1) - 1
        change = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        drawn = torch.stack([arrived(made("qsgd", bits=bits), change, index) for index in range(1500)])
        bound = min(size / levels**2, size**0.5 / levels) * change.square().sum()
        assert (drawn - change).square().sum(1).mean() <= bound * 1.05
        deviation = drawn.std(0) / 1500**0.5
        assert ((drawn.mean(0) - change).abs() <= 5 * deviation + 1e-9).all()

    def test_bits_for_each_value_and_a_norm(self) -> None:
        assert num_bytes(made("qsgd", bits=3), 1000) == 4 + 375
        assert arrived(made("qsgd"), torch.zeros(5)).tolist() == [0.0] * 5


class TestSign:
    def test_the_mean_magnitude_with_every_sign(self) -> None:
        assert arrived(made("sign"), torch.tensor([1.0, -3.0, 0.0, 2.0])).tolist() == [1.5, -1.5, 1.5, 1.5]
        assert num_bytes(made("sign"), 1000) == 4 + 125

    @given(Vectors)
    def test_the_error_shrinks_as_proved(self, values: list[float]) -> None:
        """||v - C(v)||^2 = (1 - ||v||_1^2 / (d ||v||^2)) ||v||^2 (Karimireddy et al. 2019)."""
        change = torch.tensor(values, dtype=torch.float64)
        error = (change - arrived(made("sign"), change)).square().sum()
        proved = change.square().sum() - change.abs().sum() ** 2 / len(change)
        assert error.item() == pytest.approx(proved.item(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ALL)
@given(data=st.binary(max_size=60), size=st.integers(1, 40))
def test_no_bytes_do_harm(name: str, data: bytes, size: int) -> None:
    """They are refused, or say a change of the right form."""
    try:
        change = made(name).decode(
            torch.tensor(list(data), dtype=torch.uint8), size, torch.float32, generator()
        )
    except ValueError:
        return
    assert (change.shape, change.dtype) == ((size,), torch.float32)


def test_what_is_chosen() -> None:
    assert compression_of(make_config({})) is None
    assert compression_of(config_with("sign", error_feedback=True)).error_feedback  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("qsgd", {"error_feedback": True}, "does not go with compression.name 'qsgd'"),
        ("topk", {}, "did you mean 'top-k'"),
        ("top-k", {"fraction": 0}, "compression.fraction"),
        ("sign", {"bits": 3}, "bits"),
    ],
)
def test_wrong_choices_are_one_line(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compression_of(config_with(name, **parameters))
