"""FedSim in closed form, in float64."""

from tests.methods.personal import check_head_and_body_together


def test_head_and_body_together() -> None:
    check_head_and_body_together("fedsim")
