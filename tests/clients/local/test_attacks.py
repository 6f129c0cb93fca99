"""Attackers: who they are, what they send, and that honest clients are left alone."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clients.base import Client
from clients.heterofl import HeteroFL
from clients.local.attacks import attack_of, attackers
from clients.local.worker import Worker
from common.config import Config
from common.errors import UserError
from common.plugin_kinds import ATTACK
from common.plugins import names
from common.records import Tensors
from common.sections import Value
from tests.clients.jobs import global_model, small, train
from tests.conftest import Runner, small_config


def sent(name: str, **parameters: float) -> tuple[Tensors, Tensors, Tensors]:
    """Return the model that was sent, what an honest client makes of it, and what an attacker sends."""
    options = {f"attack__{key}": value for key, value in parameters.items()}
    honest, attacked = small(local__steps=2), small(local__steps=2, attack__name=name, **options)
    start = global_model(honest)
    client = min(attackers(attacked))
    return start, *(train(Worker(config), client, start).model for config in (honest, attacked))


def test_a_share_of_the_clients_attacks_the_same_in_every_run() -> None:
    def who(**options: object) -> frozenset[int]:
        return attackers(small_config(clients__count=50, **options))

    first = who(attack__name="scaled")
    assert len(first) == 10
    assert first == who(attack__name="sign-flip", attack__fraction=0.2)
    assert first != who(attack__name="scaled", seed=1)
    assert len(who(attack__name="scaled", attack__fraction=0.5)) == 25
    assert who() == frozenset()
    assert who(attack__name="scaled", attack__fraction=0.0) == frozenset()


@pytest.mark.parametrize(("name", "factor"), [("sign-flip", -3.0), ("scaled", 3.0)])
def test_the_step_is_turned_round_or_made_longer(name: str, factor: float) -> None:
    start, honest, attacked = sent(name, factor=abs(factor))
    for key, value in honest.items():
        torch.testing.assert_close(attacked[key], start[key] + factor * (value - start[key]))


def test_noise_on_an_update_is_in_proportion_to_its_deviation() -> None:
    start, honest, attacked = sent("update-noise", scale=3.0)
    for key, value in honest.items():
        noise = attacked[key] - value
        deviation = (value - start[key]).double().std(unbiased=False).item()
        assert noise.double().std(unbiased=False).item() == pytest.approx(3 * deviation, rel=0.5)
    sizes = {key: value.numel() for key, value in honest.items()}
    largest = max(sizes, key=lambda key: sizes[key])  # of the mlp, thousands of entries
    noise = (attacked[largest] - honest[largest]).double()
    deviation = (honest[largest] - start[largest]).double().std(unbiased=False).item()
    assert noise.std().item() == pytest.approx(3 * deviation, rel=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=0.2 * deviation)
    doubled = sent("update-noise", scale=6.0)[2][largest] - honest[largest]
    torch.testing.assert_close(doubled.double(), 2 * noise, rtol=1e-2, atol=1e-5)


def test_gaussian_updates_have_their_deviation_and_differ_by_round_and_client() -> None:
    start, _, attacked = sent("gaussian", std=0.5)
    noise = torch.cat([(attacked[key] - start[key]).flatten() for key in start])
    assert len(noise) > 2000
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert abs(float(noise.mean())) < 0.05
    assert torch.equal(sent("gaussian", std=0.5)[2]["fc1.weight"], attacked["fc1.weight"])


def test_flipped_labels_are_counted_from_the_other_end_and_padding_stays() -> None:
    config = small(attack__name="label-flip", attack__fraction=1.0)
    attack = attack_of(config, 0)
    assert attack is not None
    assert attack.labels(torch.tensor([0, 9, 3, -100]), 10).tolist() == [9, 0, 6, -100]
    with pytest.raises(UserError, match=r"attack.name 'label-flip' needs classes"):
        attack.labels(torch.tensor([0.5]), 0)
    _, honest, attacked = sent("label-flip")
    assert not torch.equal(honest["fc1.weight"], attacked["fc1.weight"])


# Methods whose loss leaves out classes that a client lacks.
@pytest.mark.parametrize("method", ["balanced-softmax", "fedetf", "fedlc", "fedrod"])
def test_flipped_labels_are_also_those_that_a_method_counts(method: str, run_small: Runner) -> None:
    worker = Worker(small(attack__name="label-flip", attack__fraction=1.0, partition__alpha=0.1))
    client = Client(worker, 0, {})
    counts = client.label_counts()
    assert not counts.bool().all()
    assert client.target_counts().tolist() == counts.flip(0).tolist()
    assert client.target_counts(counts).tolist() == counts.tolist()
    options = {"method__name": method, "partition__alpha": 0.1, "rounds": 1}
    path = run_small("flipped", attack__name="label-flip", attack__fraction=1.0, **options)
    assert sha(path) != sha(run_small("honest", **options))


def test_flipped_labels_are_those_that_a_masked_loss_holds_and_margins_count() -> None:
    keys: dict[str, Value] = {
        "attack__name": "label-flip",
        "attack__fraction": 1.0,
        "partition__alpha": 0.1,
        "loss__name": "ldam",
    }
    client = HeteroFL(Worker(small(**keys)), 0, {})
    counts = client.label_counts().flip(0)
    assert not counts.bool().all()
    client.begin_round()
    assert torch.equal(client.held_classes, counts > 0)
    assert torch.equal(client._loss.keywords["label_counts"], counts)  # type: ignore[attr-defined]


def sha(path: Path) -> str:
    return str(json.loads((path / "summary.json").read_text())["model_sha256"])


def test_a_run_without_attackers_is_that_without_attack(
    run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = run_small("plain")
    assert sha(run_small("nobody", attack__name="scaled", attack__fraction=0.0)) == sha(plain)
    assert sha(run_small("some", attack__name="scaled", attack__fraction=0.5)) != sha(plain)
    assert "attack.fraction = 0 of 6 clients is none" in capsys.readouterr().out


def test_all_flipping_signs_is_the_mean_in_the_other_direction(run_small: Runner) -> None:
    options = {"rounds": 1, "clients__fraction": 1.0, "model__name": "mlp", "augmentation__name": "none"}

    def model(name: str, **attack: object) -> Tensors:
        return load_file(run_small(name, **options, **attack) / "model.safetensors")

    honest, none = model("honest"), model("still", optimizer__learning_rate=1e-30)
    flipped = model("flipped", attack__name="sign-flip", attack__fraction=1.0)
    for key, start in none.items():
        torch.testing.assert_close(flipped[key], 2 * start - honest[key], rtol=1e-4, atol=1e-6)


def test_every_attack_is_validated_before_anything_runs() -> None:
    assert {"gaussian", "label-flip", "none", "scaled", "sign-flip", "update-noise"} == set(names(ATTACK))
    for options, message in (
        ({"attack__name": "scale"}, "did you mean 'scaled'"),
        ({"attack__name": "scaled", "attack__factor": -1.0}, "attack.factor"),
        ({"attack__name": "label-flip", "attack__factor": 1.0}, "attack.factor"),
        ({"attack__fraction": 1.5}, "attack.fraction"),
    ):
        with pytest.raises(UserError, match=message):
            complete(small_config(**options))


def complete(config: Config) -> Config:
    from clients._configuration import complete

    return complete(config)
