"""InCo's diagnostics: table and picture."""

import pandas as pd
import pytest

from analysis.plots.inco import layer_table, main
from analysis.plots.inco import plot as plot_inco
from analysis.reading.run_directory import NoDataError
from analysis.report import write_plots
from tests.analysis.conftest import picture_is_drawn

LAYERS = [
    f"layer{stage}.{block}.conv{conv}.weight" for stage in (1, 2) for block in (1, 2) for conv in (1, 2)
]


def write_layers(run_dir):
    """In odd rounds nobody holds the last block of the first stage."""
    rows = [
        {
            "round": server_round, "layer": layer, "theta": 0.1 * index + server_round,
            "beta_positive": 0.5, "clipped": 0.25, "layer_beta": (-1) ** (server_round * (index == 0)),
        }
        for server_round in (1, 2, 3)
        for index, layer in enumerate(LAYERS)
        if server_round % 2 == 0 or "layer1.2" not in layer
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(run_dir / "layers.csv", index=False)
    return run_dir


def test_table(make_run):
    table = layer_table(pd.read_csv(write_layers(make_run()) / "layers.csv"))
    assert table.index.tolist() == LAYERS
    assert table["rounds"].tolist() == [3, 3, 1, 1, 3, 3, 3, 3]
    assert table["theta"].tolist() == pytest.approx([2, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7])
    assert table["rounds_positive"].tolist() == pytest.approx([1 / 3] + [1] * 7)


def test_picture(make_run, capsys):
    run_dir = write_layers(make_run())
    assert plot_inco(run_dir) in write_plots(run_dir)
    assert picture_is_drawn(run_dir / "plots" / "inco.png")
    assert main([str(run_dir)]) == 0
    assert "layer2.2.conv2" in capsys.readouterr().out


def test_runs_without_inco(make_run, capsys):
    with pytest.raises(NoDataError):
        plot_inco(make_run())
    assert main([str(make_run("other"))]) == 2
    assert "layers.csv" in capsys.readouterr().err
