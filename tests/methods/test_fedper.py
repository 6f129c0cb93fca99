"""FedPer in closed form, in float64."""

from tests.methods.personal import check_head_and_body_together, product_federation


def test_the_head_of_the_server_never_reaches_a_client_that_has_one() -> None:
    federation = product_federation("fedper", 1)
    assert list(federation.model) == ["body.b"]
    for _ in range(2):
        federation.run_round()
        assert list(federation.replies[0]) == ["body.b"]


def test_head_and_body_together() -> None:
    check_head_and_body_together("fedper")
