"""Every plot draws something from its file, at every size."""

import numpy as np
import pandas as pd
import pytest

from analysis.plots.curves import plot as plot_curves
from analysis.plots.label_distribution import plot as plot_label_distribution
from analysis.plots.participation import effective_number, participation_counts
from analysis.plots.participation import plot as plot_participation
from analysis.reading.run_directory import NoDataError
from analysis.report import write_plots
from analysis.style import METHOD_COLOURS, PALETTE, method_colours
from tests.analysis.conftest import picture_is_drawn, write_clients, write_label_distribution, write_metrics


def test_curves(make_run):
    run_dir = make_run()

    path = plot_curves(run_dir)

    assert path == run_dir / "plots" / "curves.png"
    assert picture_is_drawn(path)


def test_curves_survive_divergence_and_further_columns(tmp_path):
    write_metrics(tmp_path, [0.1, 0.1, 0.1], losses=[2.3, float("inf"), float("nan")])
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    metrics.assign(validation_loss=1.0, validation_accuracy=0.5, federated_accuracy=0.4).to_csv(
        tmp_path / "metrics.csv", index=False
    )

    assert picture_is_drawn(plot_curves(tmp_path))


def test_curves_without_measurements(tmp_path):
    (tmp_path / "metrics.csv").write_text("round,train_loss,test_loss\n0,,\n")

    with pytest.raises(NoDataError, match="no loss and no accuracy"):
        plot_curves(tmp_path)


@pytest.mark.parametrize(("clients", "classes"), [(1, 2), (10, 10), (100, 10), (100, 100), (300, 10)])
def test_label_distribution(clients, classes, tmp_path):
    write_label_distribution(tmp_path, np.random.default_rng(0).poisson(3, (clients, classes)))

    path = plot_label_distribution(tmp_path)

    assert path == tmp_path / "plots" / "label_distribution.png"
    assert picture_is_drawn(path, least_pixels=400)


def test_label_distribution_of_empty_clients(tmp_path):
    write_label_distribution(tmp_path, np.zeros((3, 4), dtype=int))

    assert plot_label_distribution(tmp_path).is_file()


@pytest.mark.parametrize("clients", [4, 100, 400])
def test_participation(clients, tmp_path):
    write_clients(tmp_path, np.random.default_rng(0).integers(clients, size=5 * clients).tolist())

    assert picture_is_drawn(plot_participation(tmp_path), least_pixels=400)


def test_participation_counts_clients_that_never_took_part(make_run):
    counts = participation_counts(make_run())

    assert counts.to_dict() == {0: 4, 1: 3, 2: 1, 3: 0}
    assert effective_number(counts) == pytest.approx(64 / 26)


def test_participation_counts_without_label_distribution(tmp_path):
    write_clients(tmp_path, [3, 1])

    assert participation_counts(tmp_path).to_dict() == {0: 0, 1: 1, 2: 0, 3: 1}


def test_uniform_participation_is_fully_effective():
    assert effective_number(pd.Series([3] * 8)) == pytest.approx(8)


def test_write_plots_draws_all(make_run):
    names = [path.name for path in write_plots(make_run())]

    assert names == ["curves.png", "label_distribution.png", "participation.png"]


def test_write_plots_skips_what_has_no_data(make_run):
    run_dir = make_run()
    (run_dir / "label_distribution.csv").unlink()
    (run_dir / "clients.csv").write_text("round,client_id,num_examples,steps,loss,seconds\n")

    assert [path.name for path in write_plots(run_dir)] == ["curves.png"]


def test_colours_of_known_methods_never_change_and_others_differ():
    colours = method_colours(["zeta", "scaffold", "alpha"])

    assert colours["scaffold"] == METHOD_COLOURS["scaffold"]
    assert len(set(colours.values())) == 3
    assert set(colours.values()) <= set(PALETTE)
    assert method_colours(["alpha", "zeta"]) == {name: colours[name] for name in ("alpha", "zeta")}

    nine = [f"method-{number}" for number in range(6)] + ["moon", "fedavg", "fedprox"]
    assert len(set(method_colours(nine).values())) == 9
