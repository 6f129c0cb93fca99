"""Keys of the command line that are for all runs of a sweep."""

from pathlib import Path

import pytest

from tests.runtimes.sweeps import SWEEP, Output, Sweeper, summary

pytestmark = pytest.mark.usefixtures("python_handlers", "no_sweep_plot")


CLIPPING = """
rounds = 1
privacy.clip-norm = 0.5
[axes.method.fedavg]
method.name = "fedavg"
[axes.method.fedprox]
method.name = "fedprox"
[axes.clipping.plain]
[axes.clipping.clipped]
privacy.clipping = "fixed"
"""


class TestKeysOfAllRuns:
    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--set", "method.name=fedprox"], "--set method.name: the axis 'method' sets it ('fedavg')"),
            (["--set", "partition.classes-per-client=3"], "the axis 'split' sets it ('nc2')"),
            (
                ["--only", "nc2", "--set", "partition.classes-per-client=3"],
                "the axis 'split' sets it ('nc2')",
            ),
            (["--only", "a,,b"], "no axis has a label"),
        ],
    )
    def test_an_axis_is_not_overruled(
        self, arguments: list[str], complaint: str, sweep: Sweeper, tmp_path: Path, capsys: Output
    ) -> None:
        assert sweep(*arguments) == 2
        assert complaint in capsys.readouterr().err
        assert not (tmp_path / "sweep").exists()

    def test_only_limits_what_is_overruled(self, sweep: Sweeper, tmp_path: Path) -> None:
        assert sweep("--only", "iid,fedavg", "--set", "partition.name=sorted-labels") == 2
        text = SWEEP.replace('partition.name = "iid"', "")
        assert sweep("--only", "iid,fedavg", "--set", "partition.name=sorted-labels", text=text) == 0
        config = summary(tmp_path / "sweep" / "fedavg,iid")["config"]
        assert config["partition.name"] == "sorted-labels"  # type: ignore[index]

    def test_the_budget_of_an_axis_is_not_overruled_either(self, sweep: Sweeper, capsys: Output) -> None:
        text = SWEEP.replace('method.name = "scaffold"', "local.steps = 8")
        assert sweep(text=text) == 2  # the helper sets local.epochs
        assert "--set local.epochs: the axis 'method' sets it ('scaffold')" in capsys.readouterr().err

    def test_two_cells_do_not_become_one(self, sweep: Sweeper, capsys: Output) -> None:
        text = SWEEP.replace('method.name = "scaffold"', "")
        assert sweep("--set", "optimizer.learning-rate=0.1", text=text) == 2
        complaint = "--set optimizer.learning-rate makes the runs 'fedavg,iid' and 'scaffold,iid' the same"
        assert complaint in capsys.readouterr().err

    def test_each_run_takes_the_keys_that_it_knows(self, sweep: Sweeper, tmp_path: Path) -> None:
        model = ("--set", "model.name=mlp")  # without BatchNorm, which privacy does not cover
        assert sweep("--set", "method.mu=0.7", *model, text=CLIPPING) == 0
        configs = {
            name: summary(tmp_path / "sweep" / name)["config"]
            for name in ("fedavg,plain", "fedprox,plain", "fedprox,clipped")
        }
        found = {
            name: (config.get("method.mu"), config["privacy.clip-norm"])  # type: ignore[attr-defined, index]
            for name, config in configs.items()
        }
        assert found == {
            "fedavg,plain": (None, 1.0), "fedprox,plain": (0.7, 1.0), "fedprox,clipped": (0.7, 0.5),
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--only", "fedavg", "--set", "method.mu=0.7"], "'fedavg' has no parameter 'method.mu'"),
            (["--set", "method.nu=0.7"], "has no parameter 'method.nu'"),
            (["--only", "plain", "--set", "privacy.delta=0.1"], "privacy.delta = 0.1 would have no effect"),
            (["--set", "steps.min=2"], "steps.min = 2 would have no effect: it needs a steps.rule"),
        ],
    )
    def test_but_some_run_must_know_them(
        self, arguments: list[str], complaint: str, sweep: Sweeper, capsys: Output
    ) -> None:
        assert sweep(*arguments, text=CLIPPING) == 2
        assert complaint in capsys.readouterr().err
