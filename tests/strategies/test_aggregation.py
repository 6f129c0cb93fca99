import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.errors import UserError
from common.records import Tensors
from strategies._aggregation import WeightedAverage


def average(*replies: tuple[Tensors, float]) -> Tensors:
    reduction = WeightedAverage()
    for section, weight in replies:
        reduction.add(section, weight)
    return reduction.result()


FIRST = {"y": torch.tensor([1.0, 2.0])}
SECOND = {"y": torch.tensor([3.0, -1.0])}


def test_closed_form() -> None:
    assert average((FIRST, 100), (SECOND, 300))["y"].tolist() == [2.5, -0.25]
    assert average((FIRST, 1), (SECOND, 1))["y"].tolist() == [2.0, 0.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    result = average(({"y": FIRST["y"].to(dtype)}, 100), ({"y": SECOND["y"].to(dtype)}, 300))["y"]
    assert result.dtype == dtype
    assert result.tolist() == [2.5, -0.25]


def test_sums_are_in_float64() -> None:
    # In float32, 2**24 + 1 is 2**24, and the product 3e38 * 10 overflows.
    section = {"y": torch.tensor([2.0**24])}
    small = {"y": torch.tensor([1.0])}
    result = average((section, 1.0), *[(small, 1.0)] * 8)["y"]
    assert result.item() == torch.tensor((2.0**24 + 8) / 9).item()
    assert average(({"y": torch.tensor([3e38])}, 10.0))["y"].item() == torch.tensor(3e38).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_blocks_have_the_bits_of_one_addition(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    replies = [(torch.randn(300, 7, generator=generator) * 100).to(dtype).t() for _ in range(3)]
    means = []
    for size in (64, 10**6):
        monkeypatch.setattr("strategies._aggregation._BLOCK", size)
        reduction = WeightedAverage()
        for reply, weight in zip(replies, (0.7, 3.0, 1e-3), strict=True):
            reduction.add({"w": reply}, weight)
        means.append(reduction.mean()["w"])
    assert means[0].shape == (7, 300)
    assert torch.equal(*means)


def test_a_model_that_all_sent_comes_back_exactly() -> None:
    section = {"y": torch.randn(1000, generator=torch.Generator().manual_seed(0))}
    result = average(*[(section, weight) for weight in (3, 17, 1, 999, 71)])
    assert torch.equal(result["y"], section["y"])


def test_many_clients_have_the_exact_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(300, 50, generator=generator)
    weights = torch.randint(1, 500, (300,), generator=generator)
    expected = (values.double() * weights[:, None]).sum(0) / weights.sum()
    result = average(*[({"y": value}, int(weight)) for value, weight in zip(values, weights, strict=True)])
    assert torch.allclose(result["y"].double(), expected, rtol=1e-7, atol=1e-8)


class TestCounters:
    """``num_batches_tracked``: Flower's own average returns it as float64."""

    def test_they_are_the_mean_rounded_down(self) -> None:
        """n = 30, 10, 60 and counters 20, 10, 40: (600 + 100 + 2400) / 100 = 31."""
        counters = [{"n": torch.tensor(count)} for count in (20, 10, 40)]
        result = average(*zip(counters, (30, 10, 60), strict=True))["n"]
        assert result.dtype == torch.int64
        assert result.item() == 31
        odd = [{"n": torch.tensor(count)} for count in (41, 40, 35)]
        assert average(*zip(odd, (1, 1, 1), strict=True))["n"].item() == 38
        assert average(*zip(odd[::-1], (1, 1, 1), strict=True))["n"].item() == 38

    def test_equal_ones_stay_whatever_the_weights(self) -> None:
        for counter in (1, 7, 123_457):
            replies = [({"n": torch.tensor(counter)}, 0.1 * weight + 1 / 3) for weight in range(9)]
            assert average(*replies)["n"].item() == counter  # type: ignore[arg-type]

    def test_beyond_the_precision_of_floats(self) -> None:
        count = 2**62 + 1
        assert average(({"n": torch.tensor(count)}, 3))["n"].item() == count

    @pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
    def test_every_other_dtype_is_kept_too(self, dtype: torch.dtype) -> None:
        result = average(({"n": torch.tensor([1, 0]).to(dtype)}, 1))["n"]
        assert result.dtype == dtype
        assert result.tolist() == [1, 0]

    def test_they_do_not_alias_the_reply(self) -> None:
        counter = torch.tensor([5])
        reduction = WeightedAverage()
        reduction.add({"n": counter}, 1)
        counter.fill_(0)
        assert reduction.result()["n"].item() == 5


class TestWeights:
    def test_a_weight_of_zero_has_no_say(self) -> None:
        result = average(
            ({**FIRST, "n": torch.tensor(1)}, 0), ({**SECOND, "n": torch.tensor(2)}, 5), (FIRST, 0)
        )
        assert result["y"].tolist() == SECOND["y"].tolist()
        assert result["n"].item() == 2

    @pytest.mark.parametrize("replies", [(), ((FIRST, 0),), ((FIRST, 0), (SECOND, 0))])
    def test_nothing_to_average_is_an_error(self, replies: tuple[tuple[Tensors, float], ...]) -> None:
        with pytest.raises(UserError, match="no reply has a weight above 0"):
            average(*replies)

    def test_the_total_is_known(self) -> None:
        reduction = WeightedAverage()
        reduction.add(FIRST, 100)
        reduction.add(SECOND, 300)
        assert reduction.total_weight == 400

    def test_a_name_is_averaged_over_those_who_have_it(self) -> None:
        wide = {"a": torch.tensor([1.0]), "b": torch.tensor([8.0]), "n": torch.tensor(3)}
        narrow = {"a": torch.tensor([5.0])}
        result = average((narrow, 3), (wide, 1))
        assert (result["a"].item(), result["b"].item(), result["n"].item()) == (4.0, 8.0, 3)

    def test_a_name_without_weight_is_left_out(self) -> None:
        assert set(average((FIRST, 1), ({"z": torch.tensor([1.0])}, 0))) == {"y"}


def test_replies_are_not_written_to() -> None:
    first, second = FIRST["y"].clone(), SECOND["y"].clone()
    average(({"y": first}, 100), ({"y": second}, 300))
    assert torch.equal(first, FIRST["y"])
    assert torch.equal(second, SECOND["y"])


@st.composite
def replies(draw: st.DrawFn) -> list[tuple[Tensors, int]]:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    floats = st.floats(-1e6, 1e6, width=32)
    return [
        (
            {
                "y": torch.from_numpy(draw(hnp.arrays("float32", shape, elements=floats))),
                "n": torch.tensor(draw(st.integers(0, 2**40))),
            },
            draw(st.integers(1, 10**5)),
        )
        for _ in range(draw(st.integers(1, 6)))
    ]


@settings(max_examples=60)
@given(replies(), st.integers(0, 12), st.randoms(use_true_random=False))
def test_metamorphic_relations(cohort: list[tuple[Tensors, int]], exponent: int, random: object) -> None:
    result = average(*cohort)
    values = torch.stack([section["y"] for section, _ in cohort])
    weights = torch.tensor([float(weight) for _, weight in cohort], dtype=torch.float64)

    expected = torch.tensordot(weights / weights.sum(), values.double(), dims=1)
    # Cancellation: the error is relative to the terms, not to their sum.
    tolerance = 1e-7 * values.double().abs().amax(0) + 1e-12
    assert ((result["y"].double() - expected).abs() <= tolerance).all()
    assert (result["y"] >= values.amin(0)).all()
    assert (result["y"] <= values.amax(0)).all()

    # The scale of the weights changes nothing: not a bit for a power of two.
    scaled = average(*[(section, weight * 2.0**exponent) for section, weight in cohort])
    assert torch.equal(scaled["y"], result["y"])
    assert torch.equal(scaled["n"], result["n"])
    tripled = average(*[(section, weight * 3) for section, weight in cohort])
    assert ((tripled["y"].double() - result["y"].double()).abs() <= tolerance).all()

    # Another order can change the last bit of the float64 sums only.
    shuffled = list(cohort)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ((average(*shuffled)["y"].double() - result["y"].double()).abs() <= tolerance).all()
