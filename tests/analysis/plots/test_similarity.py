"""Similarities of client models: tables and pictures."""

import numpy as np
import pandas as pd
import pytest

from analysis.plots.similarity import layer_means, main, similarity_matrix
from analysis.plots.similarity import plot as plot_similarity
from analysis.reading.run_directory import NoDataError, read_similarities
from analysis.report import write_plots
from tests.analysis.conftest import picture_is_drawn

LAYERS = ("stages.0", "stages.1", "stages.2")
# Of client 7, whose model is smaller, the last stage is missing.
PAIRS = ((3, 5), (3, 7), (5, 7))


def write_similarities(run_dir, rounds=(1, 3), factor=1.0):
    (run_dir / "similarity").mkdir()
    for server_round in rounds:
        rows = [
            (layer, a, b, factor * (0.9 - 0.2 * depth + 0.01 * (a + b) - 0.02 * server_round))
            for depth, layer in enumerate(LAYERS)
            for a, b in PAIRS
            if depth < 2 or 7 not in (a, b)
        ]
        table = pd.DataFrame(rows, columns=["layer", "client_a", "client_b", "cka"])
        table.to_csv(run_dir / "similarity" / f"round-{server_round:06d}.csv", index=False)
    return run_dir


def test_means_and_matrices(make_run):
    table = read_similarities(write_similarities(make_run(), (3, 20, 100)))
    means = layer_means(table)
    assert means.index.tolist() == [3, 20, 100]
    assert means.columns.tolist() == list(LAYERS)
    assert means.loc[3, "stages.1"] == pytest.approx(0.7 + 0.1 - 0.06)
    assert means.loc[20, "stages.2"] == pytest.approx(0.5 + 0.08 - 0.4)
    matrix = similarity_matrix(table, "stages.0", 3)
    assert matrix.index.tolist() == [3, 5, 7]
    np.testing.assert_allclose(matrix, [[1, 0.92, 0.94], [0.92, 1, 0.96], [0.94, 0.96, 1]], atol=1e-12)
    assert similarity_matrix(table, "stages.2", 3).index.tolist() == [3, 5]


def test_pictures(make_run, tmp_path, capsys):
    first = write_similarities(make_run("first"))
    second = write_similarities(make_run("second", (0.1, 0.2, 0.3, 0.5)), factor=0.8)
    assert plot_similarity(first) in write_plots(first)
    assert picture_is_drawn(first / "plots" / "similarity.png")
    assert main([str(first), str(second), "--out", str(tmp_path / "out.png")]) == 0
    assert picture_is_drawn(tmp_path / "out.png", 400)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("first", "second", "stages.0", "out.png"))
    assert main([str(first)]) == 0


def test_a_pair_without_a_similarity_is_left_out(make_run):
    run_dir = write_similarities(make_run(), (1,))
    path = run_dir / "similarity" / "round-000001.csv"
    table = pd.read_csv(path)
    table.loc[0, "cka"] = np.nan
    table.to_csv(path, index=False)
    assert layer_means(read_similarities(run_dir)).loc[1, "stages.0"] == pytest.approx(0.88 + 0.11 - 0.0)
    assert plot_similarity(run_dir)


def test_what_cannot_be_compared(make_run, tmp_path, capsys):
    plain, other = make_run("plain"), write_similarities(make_run("other"))
    with pytest.raises(NoDataError, match=r"runs with analysis\.similarity-rounds do"):
        plot_similarity(plain)
    assert main([str(plain)]) == 2
    with pytest.warns(UserWarning, match="left out: .*plain has no similarity"):
        assert main([str(other), str(plain)]) == 0
    assert main([str(tmp_path / "missing")]) == 2
    path = other / "similarity" / "round-000003.csv"
    path.write_text(path.read_text().replace("stages", "layers"))
    (other / "similarity" / "round-000001.csv").unlink()
    assert main([str(write_similarities(make_run("third"))), str(other)]) == 2
    assert "have different layers" in capsys.readouterr().err
