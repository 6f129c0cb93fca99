"""Which models the features of a round are recorded of."""

import pandas as pd

from tests.conftest import Runner


def test_variants_with_other_bodies_are_left_out(run_small: Runner) -> None:
    run = run_small(model__name="mlp", method__name="ifca", rounds=1, analysis__feature_rounds="1")
    assert "test_accuracy_cluster-1" in pd.read_csv(run / "metrics.csv")
    assert set(pd.read_csv(run / "heads.csv")["head"]) == {"classifier"}
