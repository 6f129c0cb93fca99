"""FedAlt in closed form, in float64, and its budget of steps."""

from tests.methods.personal import check_head_then_body


def test_head_then_body() -> None:
    check_head_then_body("fedalt")
