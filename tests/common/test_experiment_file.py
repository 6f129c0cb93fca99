import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config_values import to_toml
from common.errors import UserError
from common.experiment import Experiment, LabelFilter
from common.experiment_file import parse_experiment
from tests.common.configs import make_config

SWEEP = """
rounds = 2000
[axes.split.iid]
partition.name = "iid"
[axes.split.nc5]
partition.name = "classes"
partition.classes-per-client = 5
[axes.steps.j4]
local.steps = 4
[axes.steps.j16]
rounds = 500
local.steps = 16
[cells]
"*,j16".optimizer.learning-rate = 0.05
"iid,j16".optimizer.learning-rate = 0.07
"nc*,j4".optimizer.momentum = 0.9
[report]
metrics = ["test_accuracy", "test_loss"]
[report.published]
"iid,*" = 45.96
"nc5,j16" = 22
"""


def test_a_file_without_axes_is_one_run() -> None:
    experiment = parse_experiment(
        'rounds = 3\n[optimizer]\nlearning-rate = 0.1\n[dataset]\nname = "digits"\n', "x.toml"
    )
    assert experiment.axes == {}
    assert experiment.overrides == {"rounds": 3, "optimizer.learning-rate": 0.1, "dataset.name": "digits"}
    assert [(point.name, point.overrides) for point in experiment.points()] == [("", experiment.overrides)]


def test_the_product_with_its_cells() -> None:
    points = list(parse_experiment(SWEEP, "x.toml").points())
    assert [point.name for point in points] == ["iid,j4", "iid,j16", "nc5,j4", "nc5,j16"]
    assert points[0].labels == {"split": "iid", "steps": "j4"}
    assert points[1].overrides == {
        "rounds": 500, "partition.name": "iid", "local.steps": 16, "local.epochs": 0,
        "optimizer.learning-rate": 0.07,
    }  # fmt: skip
    assert [point.overrides.get("optimizer.learning-rate") for point in points] == [None, 0.07, None, 0.05]
    assert [point.overrides.get("optimizer.momentum") for point in points] == [None, None, 0.9, None]
    assert [point.overrides["rounds"] for point in points] == [2000, 500, 2000, 500]


def test_what_the_report_shows() -> None:
    experiment = parse_experiment(SWEEP, "x.toml")
    assert experiment.metrics == ["test_accuracy", "test_loss"]
    assert [experiment.published_for(point.labels) for point in experiment.points()] == [
        45.96, 45.96, None, 22.0,
    ]  # fmt: skip


def test_another_axis_keeps_cells_and_published_numbers() -> None:
    experiment = parse_experiment(SWEEP, "x.toml").with_axis(
        "comparator", {"as-given": {}, "other": {}}, "other"
    )
    points = {point.name: point for point in experiment.points()}
    assert len(points) == 8
    assert list(points)[:2] == ["iid,j4,as-given", "iid,j4,other"]
    assert points["nc5,j16,other"].overrides["optimizer.learning-rate"] == 0.05
    assert experiment.published_for(points["nc5,j16,other"].labels) == 22.0
    assert experiment.published_for(points["nc5,j16,as-given"].labels) is None


def test_a_list_is_an_axis_of_one_key() -> None:
    lists = "method.name = ['moon', 'fedavg']\npartition.alpha = [0.1, 1]\nlocal.drop-last = [true]"
    experiment = parse_experiment(f"rounds = 3\n[axes]\n{lists}\n[axes.seed.s0]\nseed = 0", "x.toml")
    assert list(experiment.axes) == ["method.name", "partition.alpha", "local.drop-last", "seed"]
    points = {point.name: point.overrides for point in experiment.points()}
    assert list(points)[:2] == ["moon,alpha=0.1,drop-last=true,s0", "moon,alpha=1,drop-last=true,s0"]
    keys = {"rounds": 3, "method.name": "fedavg", "partition.alpha": 1, "local.drop-last": True, "seed": 0}
    assert points["fedavg,alpha=1,drop-last=true,s0"] == keys


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rounds = ", "x.toml is not valid TOML"),
        ("axes = 3", "x.toml: [axes] must be a table, not 3"),
        ("rounds = 3\n[axes]", "x.toml: [axes] is empty: write [axes.NAME.LABEL] and keys below it"),
        (
            "[axes.rate]\noptimizer.learning-rate = 0.1",
            "x.toml: [axes.rate] sets optimizer.learning-rate without a label: write [axes.rate.LABEL]",
        ),
        ("[axes.way]\nlocal.steps = 3", "x.toml: [axes.way] sets local.steps without a label"),
        ("[axes.seed]\na.seed = 1\nb.seed = 1", "'a' and 'b' of the axis 'seed' are the same seed"),
        ("[axes]\nsplit = 3", "x.toml: [axes.split] must be a table, not 3"),
        ("[axes.split]\niid = [3]", "[axes] has a list for 'split.iid', which is not a key"),
        ("[axes]\nmethod = ['fedavg']", "'method', which is not a key; did you mean 'method.name'?"),
        ("[axes]\nrounds = []", "axis 'rounds' has no labels"),
        ("[axes]\n'method.name' = ['moon']\nmethod.name = ['q-ffl']", "has two lists for method.name"),
        ("[axes]\nrounds = [1, 1]", "[axes] has 1 twice for rounds: leave one out"),
        ("[axes]\nrounds = [[1], 2]", "[axes] has for rounds the value [1]: it must be a single one"),
        ("[axes]\nmethod.name = ['a/b']", "axis 'method.name' has a label 'a/b'"),
        (
            "method.name = ['fedavg', 'moon']",
            "method.name has a list: to run each of its values, write it below",
        ),
        ("[axes.split]\niid = 3", "x.toml: [axes.split.iid] must be a table, not 3"),
        ("[axes.split]", "x.toml: axis 'split' has no labels: give it tables [axes.split.<label>]"),
        ('[axes.split."a,b"]', "axis 'split' has a label 'a,b': take letters, digits"),
        ('[axes.split."../up"]', "axis 'split' has a label '../up'"),
        ("[axes.a.x]\n[axes.b.x]", "axes 'a' and 'b' both have a label 'x': rename one"),
        ("[axes.a.x]\nrounds=1\n[axes.b.y]\n[axes.b.z]\nrounds=2", "axes 'a' and 'b' both set rounds"),
        ("[axes.a.x]\nlocal.steps=1\n[axes.b.y]\nlocal.epochs=2", "axes 'a' and 'b' both set local."),
        ("[axes.a.x]\n[cells.xx]\nrounds=1", "x.toml: 'xx': axis 'a' has no label 'xx'; did you mean 'x'?"),
        ("[axes.a.x]\n[cells.'x,y']\nrounds=1", "'x,y' must name one label, or *, of each axis (a)"),
        ("[cells.x]\nrounds=1", "'x' must name one label, or *, of each axis (none)"),
        ("[axes.a.x]\n[cells]\nx = 1", 'x.toml: [cells."x"] must be a table, not 1'),
        ("[axes.a.x]\n[report]\nmetric = 1", "[report] has no 'metric'; did you mean 'metrics'?"),
        ("[axes.a.x]\n[report]\nmetrics = 'x'", "report.metrics must be a list"),
        ("[axes.a.x]\n[report.published]\nx = 'high'", "report.published: 'x' must be a number, not 'high'"),
        ("run.directory = 'there'", "x.toml: run.directory is not for experiment files: use --run-dir"),
        ("[axes.a.x]\n[cells.x]\nrun.resume = true", "run.resume is not for experiment files: use --resume"),
        ("[axes.a.x]\n[report.published]\nz = 1", "axis 'a' has no label 'z'"),
    ],
)
def test_errors_are_one_line(text: str, complaint: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_experiment(text, "x.toml")
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_stored_configuration_of_a_run_is_an_experiment_file_that_may_run_elsewhere() -> None:
    stored = make_config({"run.directory": "there", "rounds": 3}).flat()
    overrides = parse_experiment(to_toml(stored), "config.toml").overrides
    assert overrides == {key: value for key, value in stored.items() if not key.startswith("run.")}


def test_a_label_may_have_the_name_of_a_section() -> None:
    text = "[axes.part.model]\nmodel.name = 'linear'\n[axes.part.local]\nmethod.mu = 3\nrounds = 2"
    assert [point.name for point in parse_experiment(text, "x.toml").points()] == ["model", "local"]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([], ["iid,j4", "iid,j16", "nc5,j4", "nc5,j16"]),
        (["iid"], ["iid,j4", "iid,j16"]),
        (["nc5,j4"], ["nc5,j4"]),
        (["j4,j16, nc5"], ["nc5,j4", "nc5,j16"]),
        (["iid,j4", "nc5,j16"], ["iid,j4", "nc5,j16"]),
    ],
)
def test_a_selection(only: list[str], expected: list[str]) -> None:
    experiment = parse_experiment(SWEEP, "x.toml")
    selection = LabelFilter(only, experiment.axes)
    assert [point.name for point in experiment.points() if point in selection] == expected


@pytest.mark.parametrize(
    ("only", "complaint"), [("j5", "no axis has a label 'j5'; did you mean"), (",", "no axis has a label ''")]
)
def test_a_wrong_selection(only: str, complaint: str) -> None:
    with pytest.raises(UserError) as raised:
        LabelFilter([only], parse_experiment(SWEEP, "x.toml").axes)
    assert complaint in str(raised.value)


def test_an_added_axis_must_be_new() -> None:
    with pytest.raises(UserError, match="has an axis 'steps' already"):
        parse_experiment(SWEEP, "x.toml").with_axis("steps", {"a": {}})
    with pytest.raises(UserError, match="'steps' and 'seed' both set rounds"):
        parse_experiment(SWEEP, "x.toml").with_axis("seed", {"a": {"rounds": 1}})


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_every_combination_is_there_once(sizes: list[int]) -> None:
    axes = {f"axis{i}": {f"l{i}{j}": {f"k{i}": j} for j in range(size)} for i, size in enumerate(sizes)}
    points = list(Experiment({}, axes).points())
    assert len({point.name for point in points}) == len(points) == math.prod(sizes)
    for point in points:
        for i, (axis, label) in enumerate(point.labels.items()):
            assert axes[axis][label][f"k{i}"] == point.overrides[f"k{i}"]
