"""Groups that take turns."""

from tests.server.participation.schemes import message_of, participation


def test_periodic_groups_take_turns() -> None:
    """ "4,10" of 8 clients: ten rounds of clients 0-3, ten of 4-7, and again."""
    scheme = participation("periodic", count=8, group_size=4, period=10)
    turns = [scheme.cohort(server_round, 0.1) for server_round in range(1, 31)]
    assert turns == [[0, 1, 2, 3]] * 10 + [[4, 5, 6, 7]] * 10 + [[0, 1, 2, 3]] * 10
    assert "does not divide clients.count, which is 8" in message_of("periodic", count=8, group_size=3)
