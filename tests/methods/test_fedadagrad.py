"""FedAdagrad in closed form, in float64."""

from tests.methods.server_optimisers import check_rest, check_two_rounds


def test_two_rounds() -> None:
    check_two_rounds(
        "fedadagrad",
        (1.0904987562, 0.9048750780),
        (1.1313986449, 0.9476411366),
        server_learning_rate=0.1,
        tau=0.01,
    )


def test_it_stays_where_nothing_changes() -> None:
    check_rest("fedadagrad")
