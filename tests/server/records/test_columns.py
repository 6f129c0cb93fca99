from pathlib import Path

import pandas as pd
import pytest

from clients._configuration import complete
from common.errors import UserError
from common.sections import Value
from server.records.columns import Columns, check_metrics
from tests.common.configs import make_config
from tests.golden.runs import COMMON, RUNS, golden


@pytest.mark.parametrize("name", RUNS)
def test_every_column_that_a_run_has_is_known_before_it(name: str) -> None:
    columns = Columns(complete(make_config(COMMON | {"method.name": name} | RUNS[name])))
    kept = pd.read_csv(golden(name))
    assert [column for column in kept if column not in columns] == []
    assert [column for column in kept.dropna(axis="columns", how="all") if columns.needs(column)] == []


@pytest.mark.parametrize(
    ("metric", "values", "complaint"),
    [
        ("test_acuracy", {}, "a column 'test_acuracy'; did you mean 'test_accuracy'?"),
        ("personal_acuracy|test_accuracy", {}, "'personal_acuracy'; did you mean 'personal_accuracy'?"),
        ("accuracy", {}, "'accuracy'; did you mean "),
        ("test_accuracy_hed", {}, "did you mean 'test_accuracy_head'?"),
        ("test_accuracy_mean_", {}, "a column 'test_accuracy_mean_'"),
        ("lamda_max", {"method.name": "afl"}, "did you mean 'lambda_max'?"),
        ("lambda_max", {}, "no run would have a column 'lambda_max'"),
        ("drift", {}, "no run would have a column 'drift'"),
        ("federated_accuracy", {}, "a value of 'federated_accuracy', which needs clients.evaluate-fraction"),
        ("personal_accuracy", {}, "'personal_accuracy', which needs a method whose clients have models"),
        ("test_loss", {"method.name": "local-only"}, "'test_loss', which needs a method with a global model"),
        ("test_loss", {"evaluate.test": False}, "'test_loss', which needs evaluate.test = true"),
        (
            "personal_loss|federated_loss",
            {},
            "needs a method whose clients .* or clients.evaluate-fraction above 0",
        ),
    ],
)
def test_a_column_that_no_run_can_have(metric: str, values: dict[str, Value], complaint: str) -> None:
    with pytest.raises(UserError, match=f"^report.metrics: .*{complaint}"):
        check_metrics([metric], [make_config(values)])


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("test_accuracy_p90", {}),
        ("cluster_1_clients", {"method.name": "ifca"}),
        ("federated_accuracy_worst_decile", {"clients.evaluate-fraction": 0.5}),
        ("federated_accuracy", {"method.name": "fedper"}),
        ("personal_accuracy|federated_accuracy", {"clients.evaluate-fraction": 1.0}),
        ("test_top5", {"metrics": "top5"}),
        ("validation_accuracy", {}),
        ("drift", {"observers": "drift"}),
        ("staleness", {"method.name": "fedbuff"}),
    ],
)
def test_a_column_that_a_run_may_have(metric: str, values: dict[str, Value]) -> None:
    check_metrics([metric], [make_config(values)])


def test_it_is_enough_that_one_run_may_have_it() -> None:
    runs = [make_config(), make_config({"method.name": "ditto"})]
    check_metrics(["personal_accuracy", "test_loss"], runs)


@pytest.mark.parametrize(
    ("folder", "code", "key"),
    [
        ("strategies", "from strategies.fedavg import FedAvg\nclass Own(FedAvg):\n    pass\n", "method.name"),
        ("observers", "from server.observers import Observer\nclass Own(Observer):\n    pass\n", "observers"),
    ],
)
def test_somebodys_own_code_may_add_any(folder: str, code: str, key: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "own_thing.py").write_text(code)
    check_metrics(["test_acuracy"], [make_config({"plugins": str(tmp_path), key: "own-thing"})])
