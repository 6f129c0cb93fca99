import pytest

from common.errors import UserError
from models.sizes.population import Assignment, Population, read_sizes

FIVE = ("0", "1", "2", "3", "4")


def test_contiguous_groups_of_the_paper() -> None:
    sizes = Population(FIVE, 100).of_clients()
    # Clients count from 1 in the paper.
    assert [sizes[client - 1] for client in (20, 21, 60, 61, 81)] == ["0", "1", "2", "3", "4"]
    assert [sizes.count(size) for size in FIVE] == [20] * 5
    assert Population(FIVE, 12).of_clients() == list("001122334444")
    assert Population(FIVE, 7).of_clients() == list("0123444")


def test_a_size_that_comes_twice_has_twice_as_many_clients() -> None:
    population = Population(("a", "b", "b"), 6)
    assert population.of_clients() == ["a", "a", "b", "b", "b", "b"]
    assert population.sizes == ("a", "b")


def test_shuffled_groups_depend_on_the_seed_alone() -> None:
    first = Population(FIVE, 50, "shuffled", seed=1)
    assert first.of_clients() == Population(FIVE, 50, "shuffled", seed=1).of_clients(7)
    assert first.of_clients() != Population(FIVE, 50, "shuffled", seed=2).of_clients()
    assert first.of_clients() != Population(FIVE, 50).of_clients()
    assert sorted(first.of_clients()) == Population(FIVE, 50).of_clients()


def test_dynamic_sizes_are_drawn_anew_in_each_round() -> None:
    population = Population(("a", "a", "b"), 3000, "dynamic", seed=3)
    assert population.is_dynamic
    assert population.of_clients(1) == Population(("a", "a", "b"), 3000, "dynamic", seed=3).of_clients(1)
    assert population.of_clients(1) != population.of_clients(2)
    assert population.of_clients(1).count("a") == pytest.approx(2000, abs=100)


def test_fewer_clients_than_groups_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.sizes has 5 entries for clients\.count = 4"):
        Population(FIVE, 4)


def test_fixed_sizes() -> None:
    population = Population(FIVE, 3, "dynamic", fixed=["4", "0", "4"])
    assert population.of_clients(5) == ["4", "0", "4"]
    assert not population.is_dynamic
    with pytest.raises(UserError, match=r"names 2 clients, but clients\.count is 3"):
        Population(FIVE, 3, fixed=["4", "0"])


def test_files_of_sizes() -> None:
    assert read_sizes("client_id,size\n1,b\n0,a\n", "f") == ["a", "b"]
    assert read_sizes('["a", 2]', "f") == ["a", "2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("client_id,size\n0,a\n0,b\n", "the line '0,b'"),
        ("0,a\n2,b\n", "the clients 0 to 1, each once"),
        ("0\n", "the line '0'"),
        ("x,a\n", "the line 'x,a'"),
        ("[1,", "is not valid JSON"),
    ],
)
def test_wrong_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_sizes(text, "f")


@pytest.mark.parametrize("assignment", ["contiguous", "shuffled", "dynamic"])
def test_one_client_and_the_holders_of_a_size_agree_with_the_list(assignment: Assignment) -> None:
    population = Population(("a", "b", "a"), 31, assignment, seed=4)
    for server_round in (3, 1, 3):
        sizes = population.of_clients(server_round)
        assert [population.of_client(client, server_round) for client in range(31)] == sizes
        assert population.has_size("b", server_round).tolist() == [size == "b" for size in sizes]
