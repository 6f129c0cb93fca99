"""The mechanism, in closed-form numbers."""

import math
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord

from common.defaults import default_values
from common.errors import UserError
from common.records import Tensors, to_tensors
from common.sections import PrivacySection
from server.checkpoints.state_codec import capture_attributes
from strategies._privacy import ClientPrivacy, split_noise_multiplier
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg
from strategies.fedavgm import FedAvgM
from tests.strategies.messages import NodesOnly, make_reply, record

DOUBLE = torch.float64


def section(**values: Any) -> PrivacySection:
    defaults = {
        k.removeprefix("privacy."): v for k, v in default_values().items() if k.startswith("privacy.")
    }
    given = {name.replace("_", "-"): value for name, value in values.items()}
    return PrivacySection.model_validate({**defaults, "clipping": "fixed", **given})


class Rounds:
    """A strategy with privacy, and rounds of hand-made replies."""

    def __init__(self, start: Tensors, cohort: int, strategy: FedAvg | None = None, **values: Any) -> None:
        self.strategy = strategy or FedAvg()
        names = [name for name, value in start.items() if value.is_floating_point()]
        self.strategy.setup(RunFacts(cohort, names))
        self.strategy.privacy = ClientPrivacy(section(**values), 7, cohort, 100, amplified=True)
        self.strategy.privacy_clip_norm = values.get("clip_norm", 1.0)
        self.model = start
        self.server_round = 0

    def round(self, *models: Tensors, counts: list[int] | None = None) -> Tensors:
        self.server_round += 1
        self.strategy.configure_train(self.server_round, record(self.model), ConfigRecord(), NodesOnly([2]))
        counts = counts or [1] * len(models)
        replies = [make_reply(model, count) for model, count in zip(models, counts, strict=True)]
        arrays, _ = self.strategy.aggregate_train(self.server_round, iter(replies))
        assert arrays is not None
        self.model = {name: value.clone() for name, value in to_tensors(arrays).items()}
        return self.model


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def test_changes_are_clipped_over_all_entries_and_averaged_uniformly() -> None:
    rounds = Rounds({"a": vector(1.0, 0.0), "b": vector(2.0)}, cohort=2, clip_norm=2.5)
    # Changes (3, 0 | 4) of norm 5, halved, and (0, 1 | 0), kept.
    model = rounds.round(
        {"a": vector(4.0, 0.0), "b": vector(6.0)}, {"a": vector(1.0, 1.0), "b": vector(2.0)}, counts=[1, 99]
    )
    assert model["a"].tolist() == pytest.approx([1 + 1.5 / 2, 0.5], abs=1e-12)
    assert model["b"].tolist() == pytest.approx([2 + 2.0 / 2], abs=1e-12)
    assert rounds.strategy.columns(1) == {"clip_norm": 2.5, "clipped_fraction": 0.5}


def test_without_noise_and_clipping_it_is_uniform_fedavg() -> None:
    generator = torch.Generator().manual_seed(0)
    start, *models = (
        {"w": torch.randn(5, 3, generator=generator, dtype=DOUBLE), "b": torch.randn(4, dtype=DOUBLE)}
        for _ in range(7)
    )
    private = Rounds(start, cohort=6, clip_norm=1e9).round(*models)
    plain = FedAvg(weighting="uniform")
    arrays, _ = plain.aggregate_train(1, [make_reply(model, 1) for model in models])
    assert arrays is not None
    for name, value in to_tensors(arrays).items():
        torch.testing.assert_close(private[name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_replies", [4, 1])
def test_noise_has_the_standard_deviation_of_the_planned_cohort(num_replies: int) -> None:
    # Three of four clients failed in the second case: their share is lost, the noise stays.
    size = 40_000
    start, change = {"w": torch.zeros(size, dtype=DOUBLE)}, torch.zeros(size, dtype=DOUBLE)
    change[0] = 100.0
    model = Rounds(start, cohort=4, clip_norm=0.5, noise_multiplier=3.0).round(*[{"w": change}] * num_replies)
    noise = model["w"][1:]
    assert noise.std().item() == pytest.approx(3.0 * 0.5 / 4, rel=0.02)
    assert abs(noise.mean().item()) < 4 * 0.375 / math.sqrt(size)
    assert (noise / 0.375).pow(4).mean().item() == pytest.approx(3, rel=0.1)
    assert abs((noise[1:] * noise[:-1]).mean().item() / 0.375**2) < 0.02


def test_noise_is_keyed_by_round_and_seed_and_new_for_each_tensor() -> None:
    start = {"a": torch.zeros(8, dtype=DOUBLE), "b": torch.zeros(8, dtype=DOUBLE)}
    first = Rounds(start, 1, noise_multiplier=1.0)
    model, second_model = first.round(start), first.round(start)
    assert torch.equal(Rounds(start, 1, noise_multiplier=1.0).round(start)["a"], model["a"])
    assert not torch.equal(model["a"], model["b"])
    assert not torch.equal(second_model["a"] - model["a"], model["a"])


def test_what_is_not_trained_or_not_sent_stays() -> None:
    start = {"w": torch.zeros(3), "head": torch.ones(2), "index": torch.tensor([5])}
    rounds = Rounds(start, 1, noise_multiplier=1.0)
    model = rounds.round({"w": torch.ones(3), "index": torch.tensor([6])})
    assert model["head"].tolist() == [1, 1]
    assert (model["index"].tolist(), model["index"].dtype) == ([5], torch.int64)
    assert model["w"].dtype == torch.float32
    assert model["w"].abs().min() > 0


@pytest.mark.parametrize(
    ("quantile", "norms"), [(0.5, [1.0, 2.0, 3.0, 40.0, 50.0]), (0.8, [1.0] * 4 + [9.0])]
)
def test_adaptive_norm_follows_the_closed_form_to_the_quantile(quantile: float, norms: list[float]) -> None:
    start = {"w": vector(0.0, 0.0)}
    rounds = Rounds(
        start, 5, clipping="adaptive", clip_norm=0.1, target_quantile=quantile, clip_learning_rate=0.2
    )
    expected = 0.1
    for server_round in range(1, 60):
        rounds.model = start
        rounds.round(*({"w": vector(norm, 0.0)} for norm in norms))
        below = sum(norm <= expected for norm in norms) / 5
        assert rounds.strategy.columns(server_round) == {
            "clip_norm": pytest.approx(expected),
            "clipped_fraction": pytest.approx(1 - below),
        }
        expected *= math.exp(-0.2 * (below - quantile))
        assert rounds.strategy.privacy_clip_norm == pytest.approx(expected, rel=1e-12)
    # Between the norms around the quantile, up to one step: that is where the fraction crosses it.
    low, high = (2.0, 3.0) if quantile == 0.5 else (0.98, 9.0)
    assert low * math.exp(-0.2) < rounds.strategy.privacy_clip_norm < high * math.exp(0.2)


def test_count_noise_moves_the_norm_as_its_deviation_says() -> None:
    start = {"w": vector(0.0)}
    rounds = Rounds(
        start, 20, clipping="adaptive", noise_multiplier=1.0, clip_learning_rate=1.0, clip_norm=1.0
    )
    logs = []
    for _ in range(150):
        before = rounds.strategy.privacy_clip_norm = 1.0
        rounds.model = start
        rounds.round(*[{"w": vector(0.5)}] * 10, *[{"w": vector(2.0)}] * 10)
        logs.append(math.log(rounds.strategy.privacy_clip_norm / before))
    noise = torch.tensor(logs)
    # sigma_b = 20 / 20, on a count of 20.
    assert noise.std().item() == pytest.approx(0.05, rel=0.2)
    assert abs(noise.mean().item()) < 0.015


def test_missing_replies_count_half_and_half() -> None:
    rounds = Rounds({"w": vector(0.0)}, 4, clipping="adaptive", clip_learning_rate=1.0, clip_norm=1.0)
    rounds.round({"w": vector(0.5)}, {"w": vector(0.5)})
    assert rounds.strategy.privacy_clip_norm == pytest.approx(math.exp(-(0.75 - 0.5)))


def test_adaptive_clipping_splits_the_noise() -> None:
    # Both releases together: z^-2 = z_delta^-2 + (2 sigma_b)^-2.
    assert split_noise_multiplier(1.0, 5.0) == pytest.approx(1 / math.sqrt(0.99))
    assert split_noise_multiplier(3.0, 2.5) == pytest.approx(1 / math.sqrt(1 / 9 - 1 / 25))
    privacy = ClientPrivacy(section(clipping="adaptive", noise_multiplier=1.0), 0, 100, 100, True)
    assert privacy.count_deviation == 5.0
    assert privacy.model_noise_multiplier == pytest.approx(1 / math.sqrt(0.99))
    chosen = section(clipping="adaptive", noise_multiplier=1.0, count_noise=2.0)
    assert ClientPrivacy(chosen, 0, 100, 100, True).count_deviation == 2.0
    with pytest.raises(UserError, match=r"count-noise above 0\.5, not 0\.5"):
        ClientPrivacy(section(clipping="adaptive", noise_multiplier=1.0), 0, 10, 100, True)


def test_a_server_optimiser_works_on_the_private_mean() -> None:
    rounds = Rounds({"w": vector(0.0)}, 1, FedAvgM(beta=0.5), clip_norm=1.0)
    assert rounds.round({"w": vector(10.0)})["w"].tolist() == [1.0]
    assert rounds.round({"w": vector(1.5)})["w"].tolist() == [1.0 + 0.5 + 0.5]


def test_the_clip_norm_is_state_and_the_mechanism_is_not() -> None:
    rounds = Rounds({"w": vector(0.0)}, 1, clipping="adaptive")
    rounds.round({"w": vector(10.0)})
    tree, _ = capture_attributes(rounds.strategy)
    assert tree["privacy_clip_norm"] == rounds.strategy.privacy_clip_norm == pytest.approx(math.exp(0.1))
    assert "privacy" not in tree


def test_other_sections_are_refused() -> None:
    rounds = Rounds({"w": vector(0.0)}, 1)
    rounds.strategy.configure_train(1, record(rounds.model), ConfigRecord(), NodesOnly([2]))
    with pytest.raises(UserError, match="replied with 'control' in addition to its model"):
        rounds.strategy.aggregate_train(1, [make_reply(rounds.model, 1, {"control": {"w": [1.0]}})])


@pytest.mark.parametrize(("quantile", "w"), [(0.0, 0.0), (1.0, 1e11)])
def test_a_clip_norm_that_leaves_the_numbers_is_refused(quantile: float, w: float) -> None:
    """It is multiplied by e^-100000 where all is below it, and by e^100000 where all is above."""
    keys = {"clipping": "adaptive", "clip_learning_rate": 1e5, "clip_norm": 1e10}
    rounds = Rounds({"w": vector(0.0)}, 1, **keys, target_quantile=quantile)
    with pytest.raises(UserError, match=r"lower privacy\.clip-learning-rate"):
        rounds.round({"w": vector(w)})
