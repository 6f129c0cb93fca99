"""A wrong parameter is one clear line, before any training and before anything is written."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from tests.conftest import Runner


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method__name": "fedprox", "method__mu": -0.1}, "method.mu must be greater than or equal to 0"),
        (
            {"method__name": "moon", "method__temperature": 0.0},
            "method.temperature must be greater than or equal to 0.000001",
        ),
        ({"method__name": "moon", "method__mu": -1.0}, "method.mu must be greater than or equal to 0"),
        ({"method__name": "scafold"}, "did you mean 'scaffold'"),
        ({"method__name": "scaffold", "method__option": 3}, "method.option must be 1 or 2"),
        ({"method__name": "fedavg", "method__mu": 0.1}, "'fedavg' has no parameter 'method.mu'"),
        ({"method__name": "fedadagrad", "method__beta2": 0.5}, "'fedadagrad' has no parameter"),
        (
            {"method__name": "fedasync", "method__weighting": "uniform"},
            "method.weighting = 'uniform' would have no effect with method.name 'fedasync', whose updates",
        ),
        ({"method__name": "local-only", "method__personal_part": "head"}, "personal-part must be 'all'"),
        (
            {"method__name": "knn-per", "method__fixed_mix": -0.5},
            "fixed-mix must be -1 (each client chooses) or",
        ),
        ({"method__name": "local-only", "method__weighting": "examples"}, "no model to average: leave it"),
        (
            {"method__name": "fedrep", "method__personal_share": 1.5},
            "method.personal-share must be less",
        ),
        ({"method__name": "fedper", "method__personal_part": "hed"}, "did you mean 'head'"),
        ({"method__name": "fedbabu", "method__fine_tuned_part": "tail"}, "the model has no part 'tail'"),
        ({"method__name": "fedbn"}, "no BatchNorm layers"),
        (
            {"method__name": "ditto", "optimizer__learning_rate": 20.0},
            "optimizer.learning-rate * method.lam < 1",
        ),
        (
            {"method__name": "per-fedavg", "method__variant": "maml"},
            "must be 'first-order' or",
        ),
        ({"method__name": "knn-per", "method__neighbours": 0}, "method.neighbours must be greater than 0"),
        ({"partition__name": "classes", "partition__classes_per_client": 11}, "partition.classes-per-client"),
        (
            {"participation__name": "skewed", "participation__gamma": 0.0},
            "participation.gamma must be",
        ),
        (
            {"participation__name": "skewed", "participation__gamma": -1.0},
            "participation.gamma must be",
        ),
        ({"participation__name": "uniformly"}, "did you mean 'uniform'"),
        ({"model__projection": -1}, "model.projection must be greater than or equal to 0"),
        (
            {"privacy__clipping": "fixed", "privacy__clip_norm": 0.0},
            "privacy.clip-norm must be greater",
        ),
        ({"stragglers__fraction": 1.5}, "stragglers.fraction must be less than or equal to 1"),
    ],
)
def test_wrong_parameters(options: dict[str, Any], message: str, run_small: Runner, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run_small(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
