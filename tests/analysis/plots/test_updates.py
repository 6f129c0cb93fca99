"""Distributions and similarities of the server's updates."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from analysis.plots.updates import main, read_updates, smoothness, update_similarity
from analysis.plots.updates import plot as plot_updates
from analysis.reading.run_directory import NoDataError
from analysis.report import write_plots
from common.cka import linear_cka
from common.errors import UserError
from tests.analysis.conftest import picture_is_drawn

CONV, NORM = "stages.3.0.conv2.weight", "stages.3.0.norm1.weight"


def write_updates(run_dir, rounds=(40, 41, 42), seed=0, layers=None):
    generator = np.random.default_rng(seed)
    layers = layers or {CONV: (8, 4, 3, 3), NORM: (16,), "stages.3.0.norm1.num": (1,)}
    (run_dir / "updates").mkdir()
    for server_round in rounds:
        update = {name: generator.normal(0, 1e-4, shape).astype(np.float32) for name, shape in layers.items()}
        save_file(update, run_dir / "updates" / f"round-{server_round:06d}.safetensors")
    return run_dir


def test_reading(make_run):
    run_dir = write_updates(make_run())
    updates = read_updates(run_dir)
    assert list(updates) == [40, 41, 42]
    assert set(updates[40]) == {CONV, NORM}
    assert set(read_updates(run_dir, "*conv?.weight")[41]) == {CONV}
    with pytest.raises(UserError, match="no updates of layers like 'fc'"):
        read_updates(run_dir, "fc")
    with pytest.raises(NoDataError, match=r"runs with analysis\.update-rounds do"):
        read_updates(make_run("plain"))


def test_smoothness_by_hand():
    # Between the quantiles of all rounds together, a hundred bins: half the values at either end.
    two = np.array([1.0] * 500 + [2.0] * 500)
    table = smoothness({1: {"a": two}, 2: {"a": two[::-1]}})
    assert table.loc["a", "total_variation"] == pytest.approx(4 * 0.5)
    assert table.loc["a", "distance"] == 0
    shifted = smoothness({1: {"a": two}, 2: {"a": two + 2}})
    assert shifted.loc["a", "distance"] == pytest.approx(2 / np.sqrt(0.25 + 1))
    flat = np.linspace(1, 2, 100_000)
    assert smoothness({1: {"a": flat}}).loc["a", "total_variation"] == pytest.approx(2 / 100, rel=0.05)
    assert np.isnan(smoothness({1: {"a": flat}}).loc["a", "distance"])


def test_entries_without_an_update_are_left_out(make_run):
    two = np.array([1.0] * 500 + [2.0] * 500)
    sparse = np.concatenate([np.zeros(8000), two])
    first, second = ({1: {"a": value}, 2: {"a": 2 * value}, 3: {"a": 0 * value}} for value in (two, sparse))
    assert smoothness(first).equals(smoothness(second))
    assert smoothness({1: {"a": np.zeros(3)}}).empty
    run_dir = write_updates(make_run())
    update = {CONV: np.zeros((2, 2), dtype=np.float32), NORM: np.float32([0, 1, 2])}
    save_file(update, run_dir / "updates" / "round-000040.safetensors")
    for server_round in (41, 42):
        (run_dir / "updates" / f"round-{server_round:06d}.safetensors").unlink()
    assert plot_updates(run_dir)


def test_similarity_has_outputs_as_samples():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 8, 4, 3, 3))
    vectors = generator.normal(size=(2, 12))
    first = {1: {CONV: one, NORM: vectors[0]}, 2: {CONV: one}}
    second = {2: {CONV: 3 * one, NORM: vectors[1]}, 1: {CONV: other, NORM: vectors[1], "more": one}, 9: {}}
    table = update_similarity(first, second)
    assert table.index.tolist() == [1, 2]
    assert table.columns.tolist() == [CONV, NORM]
    assert table.loc[1, CONV] == linear_cka(one.reshape(8, 36), other.reshape(8, 36))
    assert table.loc[2, CONV] == pytest.approx(1)
    # Of single features it is the squared correlation.
    assert table.loc[1, NORM] == pytest.approx(np.corrcoef(*vectors)[0, 1] ** 2)
    assert np.isnan(table.loc[2, NORM])


def test_pictures(make_run, tmp_path, capsys):
    first, second = write_updates(make_run("first")), write_updates(make_run("second"), seed=1)
    assert plot_updates(first) in write_plots(first)
    assert picture_is_drawn(first / "plots" / "updates.png", 400)
    assert main([str(first), "--layers", CONV, "--out", str(tmp_path / "one.png")]) == 0
    assert main([str(first), str(second), "--out", str(tmp_path / "two.png")]) == 0
    assert picture_is_drawn(tmp_path / "one.png", 400)
    assert picture_is_drawn(tmp_path / "two.png", 400)
    assert "total_variation" in capsys.readouterr().out


def test_of_many_layers_the_last_kernels_are_drawn(make_run):
    layers = {f"a.{i}.weight": (4, 4, 3, 3) for i in range(20)} | {f"b.{i}.weight": (4,) for i in range(20)}
    assert picture_is_drawn(plot_updates(write_updates(make_run(), (1,), layers=layers)))


def test_runs_without_common_rounds(make_run, capsys):
    first, second = write_updates(make_run("first")), write_updates(make_run("second"), (1, 2))
    assert main([str(first), str(second)]) == 2
    assert main([str(make_run("plain"))]) == 2
    assert "no recorded round" in capsys.readouterr().err
