import pandas as pd
import pytest

from analysis.plots import class_accuracy
from analysis.plots.class_accuracy import plot as plot_class_accuracy
from analysis.reading.run_directory import NoDataError
from analysis.report import write_plots
from tests.analysis.conftest import picture_is_drawn


@pytest.mark.parametrize("classes", [3, 100])
def test_bars(classes, tmp_path):
    pd.DataFrame(
        {
            "round": [0] * classes + [5] * classes,
            "class": [f"class {label}" for label in range(classes)] * 2,
            "group": (["head", "middle", "tail"] * classes)[:classes] * 2,
            "train_examples": list(range(2 * classes, classes, -1)) * 2,
            "test_accuracy": [0.1] * classes + [0.5] * classes,
        }
    ).to_csv(tmp_path / "classes.csv", index=False)
    path = plot_class_accuracy(tmp_path)
    assert path == tmp_path / "plots" / "class_accuracy.png"
    assert picture_is_drawn(path)
    assert path in write_plots(tmp_path)


@pytest.mark.parametrize(("counts", "scale"), [([146, 142, 139], "linear"), ([5000, 500, 50], "log")])
def test_the_axis_of_counts_has_readable_ticks(counts, scale, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(class_accuracy, "save", lambda figure, path: figures.append(figure))
    pd.DataFrame(
        {
            "round": 1,
            "class": ["a", "b", "c"],
            "group": "head",
            "train_examples": counts,
            "test_accuracy": 0.5,
        }
    ).to_csv(tmp_path / "classes.csv", index=False)
    plot_class_accuracy(tmp_path)
    axes = figures[0].axes[1]
    assert axes.get_yscale() == scale
    assert scale == "log" or axes.get_ylim()[0] == 0


def test_without_groups_there_is_no_picture(tmp_path):
    with pytest.raises(NoDataError, match=r"no classes\.csv"):
        plot_class_accuracy(tmp_path)
