"""Local training alone, in closed form, in float64."""

from tests.methods.quadratics import LR, Federation, close


def own(federation: Federation) -> list[float]:
    return [client.state["kept-entries"]["w"].item() for client in federation.clients]


def test_every_client_follows_its_own_gradient() -> None:
    """On Q(h, b) a step of rate 0.1 shrinks w - b by 1 - h / 10; the second client misses a round."""
    federation = Federation("local-only", [(1.0, 4.0), (2.0, -1.0)], [2, 2], local=LR)
    for cohort in ([0, 1], [0], [0, 1]):
        assert federation.run_round(cohort) == {}
        assert not any(federation.replies.values())
    assert own(federation) == close(4 - 4 * 0.9**6, -1 + 0.8**4)


def test_what_others_hold_has_no_say() -> None:
    alone = Federation("local-only", [(1.0, 4.0)], [3], local=LR)
    among = Federation("local-only", [(1.0, 4.0), (9.0, -7.0)], [3, 1], counts=[1, 99], local=LR)
    for _ in range(3):
        alone.run_round()
        among.run_round()
    assert own(among)[0] == own(alone)[0]
