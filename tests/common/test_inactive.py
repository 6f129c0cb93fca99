from pathlib import Path

import pytest

from common.config import Config
from common.config_values import merge
from common.defaults import default_values
from common.errors import InapplicableKeyError
from common.inactive import check_active, given_keys, inactive_keys
from common.sections import Value
from server.named_parameters import without_idle_keys
from tests.common.configs import make_config


@pytest.mark.parametrize(
    ("key", "value", "switches"),
    [
        ("clients.fraction", 0.25, {"participation.name": "periodic"}),
        ("clients.fraction", 0.25, {"participation.name": "schedule"}),
        ("evaluate.every", 5, {"evaluate.count": 2}),
        ("method.weighting", "examples", {"privacy.clipping": "fixed"}),
        ("method.weighting", "uniform", {"privacy.clipping": "adaptive"}),
        ("evaluate.every", 5, {"evaluate.every-steps": 4, "local.steps": 2}),
        ("partition.seed", 3, {"partition.name": "node"}),
        ("partition.seed", 3, {"partition.name": "hetero-fixed"}),
        ("partition.seed", 3, {"partition.name": "hetero", "partition.legacy-seed": 0}),
    ],
)
def test_a_key_counts_only_while_another_leaves_it_its_say(
    key: str, value: Value, switches: dict[str, Value]
) -> None:
    alone: dict[str, Value] = {"local.steps": 2, key: value}
    assert key not in inactive_keys(make_config(alone).flat())
    found = inactive_keys(make_config({**alone, **switches}).flat())
    assert list(found) == [key]
    assert next(name for name in switches if "." in name) in found[key]


@pytest.mark.parametrize("uses_fraction", [True, False])
def test_a_scheme_of_ones_own_says_whether_it_uses_the_fraction(uses_fraction: bool, tmp_path: Path) -> None:
    (tmp_path / "participation").mkdir()
    (tmp_path / "participation" / "own_scheme.py").write_text(
        "from server.participation.periodic import Periodic\n"
        f"class OwnScheme(Periodic):\n    uses_fraction = {uses_fraction}\n"
    )
    values: dict[str, Value] = {
        "plugins": str(tmp_path),
        "participation.name": "own-scheme",
        "clients.fraction": 0.25,
    }
    found = inactive_keys(make_config(values).flat())
    assert list(found) == ([] if uses_fraction else ["clients.fraction"])


@pytest.mark.parametrize(
    ("key", "value", "switch"),
    [
        ("schedule.warmup-learning-rate", 0.001, {"schedule.warmup-steps": 3}),
        ("dataset.validation-seed", 42, {"dataset.validation-fraction": 0.1}),
        ("stragglers.smallest-share", 0.5, {"stragglers.fraction": 0.5}),
        ("optimizer.reference-batch-size", 8, {"optimizer.learning-rate-scaling": "linear"}),
        ("optimizer.weight-decay-exclude", "norm-bias", {"optimizer.weight-decay": 0.1}),
        ("optimizer.weight-decay-exclude", "norm-bias", {"optimizer.name": "lars"}),
        ("optimizer.clip-decay", True, {"optimizer.clip-norm": 1.0, "optimizer.weight-decay": 0.1}),
    ],
)
def test_a_key_needs_another(key: str, value: Value, switch: dict[str, Value]) -> None:
    config = make_config({key: value})
    assert list(inactive_keys(config.flat())) == [key]
    assert not inactive_keys(make_config({key: value, **switch}).flat())
    assert without_idle_keys(config) == make_config()


@pytest.mark.parametrize(
    ("key", "value", "feature", "switch"),
    [
        ("batch-norm.augmented", True, {"batch-norm.policy": "recalibrate"}, {"augmentation.cutout": 2}),
        (
            "batch-norm.augmented",
            True,
            {"batch-norm.policy": "recalibrate"},
            {"augmentation.name": "crop-flip"},
        ),
        ("privacy.count-noise", 1.0, {"privacy.clipping": "adaptive"}, {"privacy.noise-multiplier": 0.5}),
        ("participation.penalty", 1.0, {"participation.name": "oort"}, {"clock.spread": 1.0}),
        ("model.groups", 8, {"model.name": "resnet20"}, {"model.norm": "group"}),
        ("model.groups", 8, {"model.name": "torchvision:resnet18"}, {"model.norm": "group"}),
        ("participation.pacer-step", 0.5, {"participation.name": "oort"}, {"clock.latency": 1.0}),
        (
            "partition.all-samples",
            False,
            {"partition.name": "hetero-fixed"},
            {"partition.file": "partition.npz"},
        ),
    ],
)
def test_a_key_of_a_feature_needs_another(
    key: str, value: Value, feature: dict[str, Value], switch: dict[str, Value]
) -> None:
    assert list(inactive_keys(make_config({key: value, **feature}).flat())) == [key]
    assert not inactive_keys(make_config({key: value, **feature, **switch}).flat())


@pytest.mark.parametrize(("key", "value"), [("partition.alpha", 0.1), ("partition.legacy-seed", 1)])
def test_a_partition_of_a_file_has_no_other_parameters(key: str, value: Value) -> None:
    drawn: dict[str, Value] = {"partition.name": "hetero-fixed", key: value}
    assert not inactive_keys(make_config(drawn).flat())
    assert list(inactive_keys(make_config(drawn, {"partition.file": "partition.npz"}).flat())) == [key]


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({}, False),
        ({"evaluate.groups": "none", "dataset.imbalance-factor": 0.1}, False),
        ({"dataset.imbalance-factor": 0.1}, True),
        ({"evaluate.groups": "counts"}, True),
    ],
)
def test_a_mask_needs_groups_of_classes(values: dict[str, Value], counts: bool) -> None:
    found = inactive_keys(make_config({"evaluate.mask": "none", **values}).flat())
    assert ("evaluate.mask" not in found) == counts


def test_a_key_that_a_user_sets_to_its_default_has_to_have_an_effect_too() -> None:
    defaults = default_values()
    assert inactive_keys(defaults) == {}
    found = inactive_keys(defaults, defaults)
    assert {"privacy.clip-norm", "attack.fraction", "stop.metric", "ray.address"} <= set(found)
    for key in found:
        check_active(defaults, set(defaults) - set(found))
        with pytest.raises(InapplicableKeyError, match=f"{key} = .* would have no effect"):
            check_active(defaults, {key})


def test_given_are_the_keys_of_users_and_not_those_of_a_written_configuration() -> None:
    assert given_keys({"rounds": 3}, {"overrides": "attack.fraction = 0.2"}) == {
        "rounds", "attack.fraction", "overrides",
    }  # fmt: skip
    written = Config.from_flat(merge({"seed": 1})).flat()
    without_place = {key: value for key, value in written.items() if not key.startswith("run.")}
    assert given_keys(without_place, {"seed": 2}) == {"seed"}
