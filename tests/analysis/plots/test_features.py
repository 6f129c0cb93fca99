"""Tables and pictures of features and heads."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from analysis.plots import feature_degeneration, feature_map, head_accuracy, head_norms, neural_collapse
from analysis.plots._features import class_counts, read_features, spearman
from analysis.plots.feature_map import neighbour_map, principal_components, standardized
from analysis.plots.head_accuracy import class_accuracies
from analysis.plots.head_norms import client_table, frequent_and_rare, norms_by_round
from analysis.plots.neural_collapse import angle_matrix
from analysis.reading.run_directory import NoDataError
from common.errors import UserError
from common.plugin_kinds import PLOT
from common.plugins import names
from tests.analysis.conftest import picture_is_drawn, write_label_distribution

COUNTS = [[60, 20, 0, 5, 1], [40, 10, 8, 0, 0]]
PICTURES = ("neural_collapse", "head_norms", "feature_degeneration", "head_accuracy", "feature_map")
MODULES = (neural_collapse, head_norms, feature_degeneration, head_accuracy, feature_map)


def write_features(run_dir):
    """Norms of the global head follow the counts from round 2 on; half of the fixed head is zero."""
    pd.DataFrame(COUNTS).assign(client_id=[0, 1], num_examples=np.sum(COUNTS, axis=1)).to_csv(
        run_dir / "label_distribution.csv", index=False
    )
    rows = [
        {"round": r, "head": head, "class": c, "norm": norm, "accuracy": 0.9 - 0.1 * c}
        for r in (1, 2)
        for head in ("classifier", "global_head", "realigned_unit_norm")
        for c, norm in enumerate([1, 2, 3, 4, 5] if r == 1 else [9, 7, 5, 3, 1])
    ]
    pd.DataFrame(rows).to_csv(run_dir / "heads.csv", index=False)
    values = {
        name: [0.5, 0.25] for name in ("nc1", "nc2_norms", "nc2_angles", "nc3", "nc4", "nc3_global_head")
    }
    pd.DataFrame({"round": [1, 2], **values}).to_csv(run_dir / "neural_collapse.csv", index=False)
    means = np.arange(40, dtype=np.float32).reshape(5, 8)
    head = np.tile(np.array([0, 1], dtype=np.float32), (5, 4))
    (run_dir / "features").mkdir()
    (run_dir / "checkpoints").mkdir()
    for r in (1, 2):
        tensors = {"means": r * means, "variances": means**2, "head/classifier": head, "counts": means}
        save_file(tensors, run_dir / "features" / f"round-{r:06d}.safetensors")
        heads = np.diag(np.array([6, 3, 0.5, 2, 1], dtype=np.float32)) * r
        save_file(
            {"local-head::weight": heads},
            run_dir / "checkpoints" / f"client-000000-round-{r:06d}.safetensors",
        )
    return run_dir


def test_pictures(make_run, capsys):
    run_dir = write_features(make_run())
    for module, name in zip(MODULES, PICTURES, strict=True):
        options = ["--class", "0", "--round", "1"] if name == "feature_degeneration" else []
        assert module.main([str(run_dir), *options]) == 0
        assert picture_is_drawn(run_dir / "plots" / f"{name}.png")
        assert f"{name}.png" in capsys.readouterr().out
        assert name.replace("_", "-") in names(PLOT)


def test_norms_follow_the_counts(make_run):
    run_dir = write_features(make_run())
    assert class_counts(run_dir).tolist() == [100, 30, 8, 5, 1]
    head, norms = norms_by_round(run_dir)
    assert head == "global_head"
    table = frequent_and_rare(norms, class_counts(run_dir))
    assert table["spearman"].tolist() == pytest.approx([-1, 1])
    assert table[["frequent", "rare"]].loc[2].tolist() == [9, 1]


def test_local_heads_of_the_last_checkpoint(make_run):
    table = client_table(write_features(make_run()))
    assert table.index.tolist() == [0]
    row = table.loc[0]
    assert row["absent"] == pytest.approx(1)
    assert row["present"] == pytest.approx(2 * (6 + 3 + 2 + 1) / 4)
    assert row["spearman_all"] == pytest.approx(1)


def test_a_fifth_of_ten_classes_are_frequent(make_run):
    norms = pd.DataFrame([[1.0, 2, 4, 8, 16, 32, 64, 128, 256, 512]], index=[3])
    counts = np.array([10.0, 90, 20, 80, 30, 70, 40, 60, 50, 5])
    row = frequent_and_rare(norms, counts).loc[3]
    assert (row["frequent"], row["rare"]) == ((2 + 8) / 2, (1 + 512) / 2)


def test_absent_classes_have_no_say_among_the_present_ones(make_run):
    run_dir = make_run()
    held = np.array([50, 40, 30, 20, 10, 0, 0, 0, 0, 0])
    norms = np.array([9, 8, 5, 6, 7, 1, 2, 3, 2.5, 1.5], dtype=np.float32)
    write_label_distribution(run_dir, [held])
    (run_dir / "checkpoints").mkdir()
    save_file(
        {"local-head::weight": np.diag(norms)},
        run_dir / "checkpoints" / "client-000000-round-000001.safetensors",
    )
    row = client_table(run_dir).loc[0]
    # Ranks 5, 4, 1, 2, 3 against 5, 4, 3, 2, 1.
    assert row["spearman_present"] == pytest.approx(1 - 6 * (4 + 4) / (5 * 24))
    assert row["spearman_all"] == pytest.approx(pd.Series(norms).corr(pd.Series(held), method="spearman"))
    assert row["spearman_all"] > 0.85
    assert row["absent"] == pytest.approx(2)


def test_zero_weights_are_counted_in_the_half_with_the_largest_means(make_run, monkeypatch):
    run_dir = make_run()
    means = np.array([[5, 1, 7, 3, 8, 2, 6, 4]], dtype=np.float32)
    head = np.ones((1, 8), dtype=np.float32)
    head[0, [6, 0, 7, 3, 1]] = 0  # the third, fourth, fifth, sixth and last
    (run_dir / "features").mkdir()
    tensors = {"means": means, "variances": means, "head/classifier": head, "counts": means}
    save_file(tensors, run_dir / "features" / "round-000001.safetensors")
    figures = []
    monkeypatch.setattr(feature_degeneration, "save", lambda figure, path: figures.append(figure) or path)
    feature_degeneration.plot(run_dir)
    title = figures[0].axes[0].get_title(loc="left") or figures[0].axes[0].get_title()
    assert "2 of 5 zero weights in the first half" in title


def test_features_of_a_round(make_run):
    run_dir = write_features(make_run())
    features = read_features(run_dir)
    assert features.server_round == 2
    assert features.relative_variances[0, 0] == 0  # 0 / 0
    assert features.relative_variances[3] == pytest.approx(np.full(8, 0.25))
    assert read_features(run_dir, 1).means[1, 0] == 8
    with pytest.raises(UserError, match="no features of round 3, but of 1, 2"):
        read_features(run_dir, 3)
    assert feature_degeneration.main([str(run_dir), "--class", "7"]) == 2
    assert head_accuracy.main([str(run_dir), "--round", "7"]) == 2
    server_round, table = class_accuracies(run_dir)
    assert (server_round, list(table)) == (2, ["classifier", "global_head"])


def test_runs_without_features(make_run, capsys):
    run_dir = make_run()
    for module in (neural_collapse, head_norms, feature_degeneration, head_accuracy):
        assert module.main([str(run_dir)]) == 2
        assert "error" in capsys.readouterr().err
    with pytest.raises(NoDataError):
        read_features(run_dir)


def test_small_things():
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)
    assert angle_matrix(np.array([[2.0, 0], [1, 1], [0, 3]])) == pytest.approx(
        np.array([[0.0, 45, 90], [45, 0, 45], [90, 45, 0]])
    )


def test_principal_components_keep_distances_in_a_plane():
    plane = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 1.0], [0.0, 1.0]])
    turned = plane @ np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]]) + 7
    places, shares = principal_components(turned)
    assert shares == pytest.approx([16 / 17, 1 / 17])
    assert np.sort(np.abs(places), axis=0) == pytest.approx(np.array([[2.0, 0.5]] * 4))
    assert places[np.abs(places).argmax(axis=0), range(2)] == pytest.approx([2.0, 0.5])
    assert standardized(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist() == [[-1, 0], [1, 0]]
    one, none = principal_components(np.ones((1, 3)))  # a single class has no variance
    assert (one.tolist(), none.tolist()) == ([[0, 0]], [0, 0])


def test_neighbours_stay_together():
    groups = np.repeat(np.eye(2) * 50, 4, axis=0) + np.random.default_rng(0).normal(size=(8, 2))
    places = neighbour_map(groups)
    centres = places[:4].mean(axis=0), places[4:].mean(axis=0)
    nearest = [np.argmin([np.linalg.norm(place - centre) for centre in centres]) for place in places]
    assert nearest == [0] * 4 + [1] * 4
    with pytest.raises(UserError, match="use --method pca"):
        neighbour_map(groups[:2])
