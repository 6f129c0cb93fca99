import pytest

from server.records.client_metrics import summarise_evaluations, weighted_mean


def test_weighted_mean() -> None:
    metrics = {3: {"num-examples": 1, "loss": 2.0}, 5: {"num-examples": 3, "loss": 4.0}}
    assert weighted_mean(metrics, "loss") == 3.5
    assert weighted_mean({}, "loss") is None


def test_twenty_clients_in_a_few_numbers() -> None:
    metrics = {
        i: {"num-examples": 1.0 + 9 * (i == 0), "loss": 1.0, "personal_accuracy": i / 20} for i in range(20)
    }
    columns = summarise_evaluations(metrics)
    assert columns["federated_loss"] == 1.0
    assert columns["personal_accuracy"] == pytest.approx(9.5 / 29)
    assert columns["personal_accuracy_macro"] == pytest.approx(0.475)
    assert columns["personal_accuracy_worst_decile"] == pytest.approx((0.0 + 0.05) / 2)
    assert columns["personal_accuracy_p10"] == pytest.approx(0.095)
    assert columns["personal_accuracy_p90"] == pytest.approx(0.855)
    assert "federated_loss_macro" not in columns


def test_the_worst_decile_of_few_clients_is_the_worst_client() -> None:
    columns = summarise_evaluations({i: {"num-examples": 1, "accuracy": a} for i, a in enumerate((0.9, 0.2))})
    assert columns["federated_accuracy_worst_decile"] == 0.2


def test_clients_without_test_data_have_no_say() -> None:
    columns = summarise_evaluations({0: {"num-examples": 9}, 1: {"num-examples": 1, "accuracy": 0.5}})
    assert columns["federated_accuracy"] == columns["federated_accuracy_macro"] == 0.5
    assert summarise_evaluations({0: {"num-examples": 9}}) == {}


def test_without_clients_there_are_no_columns() -> None:
    assert summarise_evaluations({}) == {}


def test_accuracies_of_groups_are_means_over_the_clients_that_have_them() -> None:
    groups = {
        "head": ((6, 7), (1, 2), (25, 40)),
        "middle": ((2, 3), (0, 1), (5, 15)),
        "tail": (None, (0, 1), (0, 5)),
    }
    metrics = {
        client: {"num-examples": size, "personal_accuracy": hits / size}
        | {
            f"personal_accuracy_{name}": values[client][0] / values[client][1]  # type: ignore[index]
            for name, values in groups.items()
            if values[client]
        }
        for client, (hits, size) in enumerate(((8, 10), (1, 4), (30, 60)))
    }
    columns = summarise_evaluations(metrics)
    assert columns["personal_accuracy_macro"] == pytest.approx(0.516667, abs=1e-6)
    assert columns["personal_accuracy"] == pytest.approx(0.527027, abs=1e-6)
    assert columns["personal_accuracy_head"] == pytest.approx(0.660714, abs=1e-6)
    assert columns["personal_accuracy_middle"] == pytest.approx(0.333333, abs=1e-6)
    assert columns["personal_accuracy_tail"] == 0
    assert "personal_accuracy_tail_macro" not in columns


def test_what_is_told_of_the_global_model_beside_its_accuracy() -> None:
    metrics = {
        0: {"num-examples": 1, "accuracy_masked": 0.5, "macro_f1": 0.25, "accuracy_masked_tail": 0.1},
        1: {"num-examples": 3, "accuracy_masked": 0.9, "macro_f1": 0.75},
    }
    columns = summarise_evaluations(metrics)
    assert columns["federated_accuracy_masked"] == pytest.approx(0.8)
    assert columns["federated_accuracy_masked_macro"] == pytest.approx(0.7)
    assert columns["federated_accuracy_masked_worst_decile"] == 0.5
    assert columns["federated_macro_f1"] == pytest.approx(0.625)
    assert columns["federated_macro_f1_macro"] == pytest.approx(0.5)
    assert columns["federated_accuracy_masked_tail"] == 0.1


def test_columns_of_sizes() -> None:
    metrics = {
        0: {"num-examples": 1.0, "accuracy": 0.2, "loss": 3.0},
        1: {"num-examples": 3.0, "accuracy": 0.6, "loss": 1.0},
        2: {"num-examples": 4.0, "accuracy": 0.9, "loss": 0.5},
        3: {"num-examples": 9.0},  # has no test data
    }
    columns = summarise_evaluations(metrics, {0: "w0.5", 1: "w0.5", 2: "w1", 3: "w0.25"})
    assert columns["federated_accuracy_w0.5"] == pytest.approx(0.5)
    assert columns["federated_loss_w0.5"] == pytest.approx(1.5)
    assert (columns["federated_accuracy_w1"], columns["federated_loss_w1"]) == (0.9, 0.5)
    assert columns["federated_accuracy"] == pytest.approx(0.7)
    assert "federated_accuracy_w0.25" not in columns
    plain = summarise_evaluations(metrics)
    assert plain == summarise_evaluations(metrics, dict.fromkeys(metrics, ""))
    assert set(columns) - set(plain) == {
        f"federated_{metric}_{size}" for metric in ("accuracy", "loss") for size in ("w0.5", "w1")
    }
