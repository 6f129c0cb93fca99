import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from common.clock import ClientSpeeds
from common.config import Config
from common.errors import UserError
from common.sections import Value
from runtimes.comparators import COMPARATORS, derive, steps_per_round
from runtimes.run import compared
from server.local_steps import LocalSteps
from server.named_parameters import check_parameters
from tests.common.configs import make_config


def no_sizes() -> Sequence[int]:
    raise AssertionError("the sizes of the clients are not needed")


def federated(**overrides: object) -> Config:
    layer = {
        "clients.count": 100,
        "clients.fraction": 0.1,
        "partition.name": "classes",
        "partition.classes-per-client": 5,
        "method.name": "fedprox",
        "method.mu": 0.3,
        "local.steps": 4,
        "optimizer.learning-rate": 0.07,
        "evaluate.every": 5,
        "augmentation.name": "crop-flip",
    }
    return make_config(layer | {k.replace("__", ".").replace("_", "-"): v for k, v in overrides.items()})  # type: ignore[arg-type]


def changed(before: Config, after: Config) -> dict[str, object]:
    old, new = before.flat(), after.flat()
    return {key: new.get(key) for key in {*old, *new} if old.get(key) != new.get(key)}


def test_as_given_is_the_same() -> None:
    config = federated(clients__evaluate_fraction=0.5)
    assert derive(config, "as-given", no_sizes) is config


@pytest.mark.parametrize("comparator", COMPARATORS)
def test_clients_evaluate_in_all_of_them_unless_test_data_are_kept_out(comparator: str) -> None:
    derived = derive(federated(), comparator, no_sizes)
    assert derived.clients.evaluate_fraction == 1
    without = {"evaluate__test": False, "dataset__validation_fraction": 0.1}
    assert derive(federated(**without), comparator, no_sizes).clients.evaluate_fraction == 0


def test_centralized_holds_the_union_and_makes_as_many_gradients() -> None:
    config = federated()
    assert changed(config, derive(config, "centralized", no_sizes)) == {
        "clients.count": 1,
        "clients.fraction": 1.0,
        "clients.evaluate-fraction": 1.0,
        "local.steps": 40,
        "partition.name": "iid",
        "partition.classes-per-client": 2,  # the default, which 'iid' does not inherit
        "method.name": "fedavg",
        "method.mu": None,
    }


def test_natural_clients_are_those_of_the_run() -> None:
    config = federated()
    pooled = derive(config, "centralized", no_sizes, lambda: True)
    assert pooled.dataset.natural_clients == 100
    assert derive(pooled, "centralized", no_sizes, lambda: True) == pooled


@pytest.mark.parametrize(
    ("fraction", "sizes", "epochs", "expected"),
    [
        (1.0, [10, 20, 33], 1, 1 + 2 + 3),  # ceil(n / 16)
        (1.0, [10, 20, 33], 5, 30),
        (1 / 3, [10, 20, 33], 1, 2),  # 1 client of 3, (1 + 2 + 3) / 3 steps each
        (2 / 3, [10, 10, 33], 2, 7),  # 2 * 2 * 5 / 3 = 6.67
        (1 / 3, [1, 1, 1], 1, 1),
    ],
)
def test_epochs_are_counted_on_the_actual_sizes(
    fraction: float, sizes: list[int], epochs: int, expected: int
) -> None:
    config = make_config(
        {
            "clients.count": 3,
            "clients.fraction": fraction,
            "local.epochs": epochs,
            "local.batch-size": 16,
        }
    )
    assert steps_per_round(config, lambda: sizes) == expected
    derived = derive(config, "centralized", lambda: sizes)
    assert (derived.local.steps, derived.local.epochs) == (expected, 0)


@pytest.mark.parametrize(
    ("keys", "steps", "fraction"),
    [
        ({"method.name": "fedasync"}, 1, 0.1),
        ({"method.name": "fedbuff", "method.buffer-size": 2}, 2, 0.2),
        ({"method.name": "fedbuff"}, 5, 0.5),  # all that work at the same time
        (
            {"participation.name": "periodic", "participation.group-size": 5, "participation.period": 2},
            5,
            0.5,
        ),
        ({"participation.name": "schedule", "rounds": 3}, 3, 0.5),  # 1, 4 and 5 clients, 10 / 3 on average
    ],
)
def test_a_round_has_the_gradients_of_the_clients_that_are_in_one(
    keys: dict[str, Value], steps: int, fraction: float, tmp_path: Path
) -> None:
    values: dict[str, Value] = {"clients.count": 10, "clients.fraction": 0.5, "local.steps": 4, **keys}
    if keys.get("participation.name") == "schedule":
        (tmp_path / "cohorts.json").write_text(json.dumps([[3], [0, 1, 2, 3], [5, 6, 7, 8, 9]]))
        values["participation.file"] = str(tmp_path / "cohorts.json")
    config = make_config(values)
    assert derive(config, "centralized", no_sizes).local.steps == 4 * steps
    floor = derive(config, "local-only", no_sizes)
    assert floor.clients.fraction == pytest.approx(fraction, abs=1e-12)
    assert derive(floor, "local-only", no_sizes) == floor


def test_the_rounds_of_a_clock_have_as_many_clients_as_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Client 0 takes a second, the others three: 1, 1 and 4 arrive in the first three rounds."""
    monkeypatch.setattr(ClientSpeeds, "job", lambda _, client_id, *rest: 1.0 if client_id == 0 else 3.0)
    config = make_config(
        {
            "method.name": "a2cid2",
            "rounds": 3,
            "clients.count": 4,
            "clients.fraction": 1.0,
            "clock.spread": 1.0,
            "local.steps": 5,
        }
    )
    assert derive(config, "centralized", no_sizes).local.steps == 2 * 5
    assert derive(config, "local-only", no_sizes).clients.fraction == 0.5


def test_the_bounds_have_no_topology_and_the_ceiling_no_attackers() -> None:
    given: dict[str, Value] = {
        "method.name": "gossip-sgd",
        "clients.fraction": 1.0,
        "topology.name": "random-regular",
        "topology.degree": 4,
        "attack.name": "label-flip",
        "attack.fraction": 0.9,  # of one client that is one
        "resources.clients-per-node": 2,
        "local.steps": 4,
    }
    for comparator in ("centralized", "local-only"):
        derived = derive(make_config(given), comparator, no_sizes)
        check_parameters(derived)
        assert (derived.attack.name == "none") == (comparator == "centralized")


def test_the_ceiling_has_no_stragglers_and_no_privacy() -> None:
    config = federated(stragglers__fraction=0.5, privacy__clipping="fixed", privacy__noise_multiplier=0.3)
    assert (
        derive(config, "centralized", no_sizes).flat() == derive(federated(), "centralized", no_sizes).flat()
    )
    floor = derive(config, "local-only", no_sizes)
    assert floor.stragglers.fraction == 0.5
    assert floor.privacy.clipping == "off"


def test_skewed_participation_leaves_no_trace() -> None:
    config = federated(
        participation__name="skewed", participation__gamma=0.3, participation__correction="none"
    )
    assert (
        derive(config, "centralized", no_sizes).flat() == derive(federated(), "centralized", no_sizes).flat()
    )


def test_the_floor_has_nothing_that_changes_weighs_or_measures_what_is_sent() -> None:
    config = federated(
        analysis__sharpness_images=8,
        analysis__update_rounds="1",
        attack__name="sign-flip",
        batch_norm__policy="recalibrate",
        participation__name="skewed",
        participation__correction="inverse-inclusion",
    )
    floor = derive(config, "local-only", no_sizes)
    assert (floor.analysis.sharpness_images, floor.analysis.update_rounds) == (0, "")
    assert floor.attack.name == "none"
    assert floor.batch_norm.policy == "average"
    assert floor.participation.name == "skewed"
    assert floor.participation.parameters.get("correction", "none") == "none"


def test_clients_with_different_noise_cannot_be_pooled() -> None:
    with pytest.raises(UserError, match="each client sees its own noise"):
        derive(federated(dataset__client_noise=0.1), "centralized", no_sizes)


def test_local_only_keeps_everything_but_the_method() -> None:
    config = federated()
    assert changed(config, derive(config, "local-only", no_sizes)) == {
        "method.name": "local-only",
        "method.mu": None,
        "clients.evaluate-fraction": 1.0,
    }
    assert (
        derive(federated(clients__evaluate_fraction=0.2), "local-only", no_sizes).clients.evaluate_fraction
        == 0.2
    )


@pytest.mark.parametrize(("metric", "patience"), [("test_accuracy", 0), ("train_loss", 3)])
def test_local_only_does_not_wait_for_a_model_that_it_does_not_have(metric: str, patience: int) -> None:
    config = federated(stop__metric=metric, stop__patience=3, stop__target=0.9)
    stop = derive(config, "local-only", no_sizes).stop
    assert (stop.patience, stop.target) == (patience, 0.9 if patience else 0)


@pytest.mark.parametrize("comparator", COMPARATORS)
def test_deriving_twice_is_deriving_once(comparator: str) -> None:
    once = derive(federated(), comparator, no_sizes)
    assert derive(once, comparator, no_sizes).flat() == once.flat()


@pytest.mark.parametrize("comparator", COMPARATORS)
def test_a_comparator_has_the_model_of_the_run(comparator: str) -> None:
    config = make_config({"method.name": "moon", "local.epochs": 0, "local.steps": 4})
    assert compared(config, comparator).model.parameters["projection"] == 256


def test_methods_and_partitions_have_one_ceiling() -> None:
    first = derive(federated(), "centralized", no_sizes)
    second = derive(
        make_config({k: v for k, v in federated(partition__name="iid").flat().items() if k != "method.mu"}
                    | {"method.name": "scaffold", "partition.classes-per-client": 2}),
        "centralized", no_sizes,
    )  # fmt: skip
    assert first.flat() == second.flat()


@pytest.mark.parametrize("comparator", ["centralized", "local-only"])
def test_with_sizes_all_train_the_whole_model(comparator: str) -> None:
    sizes = {"model__name": "stage-resnet", "model__exits": "3", "model__sizes": "d1,d2"}
    derived = derive(
        federated(method__name="heteroprox", model__size_assignment="shuffled", **sizes),
        comparator,
        no_sizes,
    )
    assert derived.model == federated(model__name="stage-resnet").model


def test_what_clients_would_have_to_send_is_not_recorded_of_those_that_send_nothing() -> None:
    recording = federated(analysis__similarity_rounds="1", analysis__update_rounds="1", analysis__images=9)
    assert derive(recording, "local-only", no_sizes).analysis == federated().analysis
    assert derive(recording, "centralized", no_sizes).analysis == recording.analysis


@pytest.mark.parametrize(
    ("partition", "count", "kept"), [("natural", 2, 2), ("natural", 1, 1), ("iid", 2, 0)]
)
def test_only_where_clients_are_natural_ones_are_some_left_out(
    partition: str, count: int, kept: int, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        owners = np.array(["a", "b", "c", "c"])
        np.savez(tmp_path / f"{part}.npz", inputs=np.eye(4), targets=np.arange(4) % 2, clients=owners)
    data = {"dataset.name": "npz", "dataset.root": str(tmp_path), "partition.name": partition}
    config = make_config({**data, "clients.count": count, "local.epochs": 0, "local.steps": 1})
    assert compared(config, "centralized").dataset.natural_clients == kept


def test_a_wrong_comparator() -> None:
    with pytest.raises(UserError, match="no comparator 'central'; did you mean 'centralized'"):
        derive(federated(), "central", no_sizes)
    config = make_config({"partition.name": "node"})
    with pytest.raises(UserError, match="needs the data in one place"):
        derive(config, "centralized", no_sizes)


def test_the_course_of_local_steps_becomes_that_of_all_clients() -> None:
    course = {"local.steps": 2, "local.epochs": 0, "local.phases": "24:6,48", "local.total-steps": 100}
    course |= {
        "schedule.warmup-steps": 5,
        "local.sampling": "shuffle",
        "evaluate.every-steps": 12,
        "rounds": 25,
    }
    config = make_config({**course, "clients.count": 4, "clients.fraction": 1.0, "method.name": "localsgd"})  # type: ignore[dict-item]
    pooled = derive(config, "centralized", no_sizes)
    assert (pooled.local.phases, pooled.local.steps, pooled.evaluate.every_steps) == ("96:24,192", 8, 48)
    for server_round in range(1, 26):
        assert pooled.local.step_plan().steps(server_round) == 4 * config.local.step_plan().steps(
            server_round
        )
    assert pooled.schedule.warmup_steps == 20
    assert derive(pooled, "centralized", no_sizes) == pooled


@pytest.mark.parametrize(
    ("rule", "options"),
    [("doubling", {}), ("qsr", {"schedule.name": "step", "schedule.step-rounds": 1})],
)
def test_rules_for_the_local_steps_decide_as_many_for_the_pooled_data(
    rule: str, options: dict[str, object]
) -> None:
    course = {"local.steps": 2, "local.epochs": 0, "local.total-steps": 100, "steps.rule": rule, "rounds": 25}
    clients = {"clients.count": 4, "clients.fraction": 1.0, "steps.min": 1, "steps.max": 16}
    config = make_config({**course, **clients, **options})  # type: ignore[dict-item]
    decided = [LocalSteps(each) for each in (config, derive(config, "centralized", no_sizes))]
    for server_round in range(1, 8):
        of_clients, pooled = (steps.decide(server_round) for steps in decided)
        assert of_clients is not None
        assert pooled == 4 * of_clients
        for steps, count in zip(decided, (of_clients, pooled), strict=True):
            steps.observe(count, {"train_loss": 1.0})
