"""Which labels are values of one quantity."""

import pytest

from analysis.comparison.quantity import is_quantity


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["iid", "nc50", "nc10", "nc5"], True),
        (["uniform", "gamma5", "gamma0.5"], True),
        (["alpha0.1", "alpha1", "iid"], True),
        (["j4", "j8", "j16"], True),
        (["iid", "nc1"], False),
        (["fedavg", "scaffold"], False),
        (["resnet10", "resnet50", "resnet18"], False),
        (["nc1", "iid", "nc5"], False),
        (["dirichlet0.5", "nc2"], False),  # numbers of different things
    ],
)
def test_lines_join_quantities_only(labels: list[str], expected: bool) -> None:
    assert is_quantity(labels) is expected
