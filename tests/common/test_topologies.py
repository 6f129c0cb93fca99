"""Mixing matrices: doubly stochastic for every topology and size, with the gaps of the literature."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.plugin_kinds import TOPOLOGY
from common.plugins import project_names
from common.sections import TopologySection, Value
from common.topologies import Topology, mixing_matrix, spectral_gap, undirected_links

DIRECTED = {"exponential", "one-peer-exponential"}
NAMES = [name for name in project_names(TOPOLOGY) if name != "file"]


def topology(
    name: str, count: int, weights: str = "metropolis", seed: int = 0, **parameters: Value
) -> Topology:
    section = TopologySection.model_validate({"name": name, "weights": weights, **parameters})
    return Topology(section, count, seed)


@settings(max_examples=80)
@given(st.sampled_from(NAMES), st.integers(2, 40), st.sampled_from(["metropolis", "lazy-metropolis"]))
def test_mixing_keeps_the_mean_and_contracts(name: str, count: int, weights: str) -> None:
    if name == "torus":
        assume(count > 3 and any(count % rows == 0 for rows in range(2, count)))
    if name == "random-regular":
        assume(count > 3 and count % 2 == 0)
    made = topology(name, count, weights)
    product = np.eye(count)
    for server_round in range(1, 2 * len(made.links) + 1):
        mixing = made.mixing(server_round)
        np.testing.assert_allclose(mixing.sum(axis=0), 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(mixing.sum(axis=1), 1, rtol=0, atol=1e-12)
        assert (mixing >= 0).all()
        assert (mixing.diagonal() > 0).all()
        assert name in DIRECTED or (mixing == mixing.T).all()
        assert -1e-12 <= made.spectral_gap(server_round) <= 1 + 1e-12
        product = mixing @ product
    assert spectral_gap(product) > 0  # over a period, models of all come to all


@settings(max_examples=60)
@given(st.integers(2, 12), st.data())
def test_any_undirected_graph_has_symmetric_doubly_stochastic_weights(
    count: int, data: st.DataObject
) -> None:
    pairs = [(i, j) for i in range(count) for j in range(i)]
    links = undirected_links(count, data.draw(st.lists(st.sampled_from(pairs))))
    for is_lazy in (False, True):
        mixing = mixing_matrix(links, is_lazy)
        np.testing.assert_allclose(mixing.sum(axis=1), 1, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(mixing, mixing.T)
        assert (mixing >= -1e-15).all()
        assert ((mixing > 0) == (links | np.eye(count, dtype=bool))).all()


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(1, 39), st.integers(0, 9))
def test_random_regular_graphs_are_regular(count: int, degree: int, seed: int) -> None:
    assume(degree < count and count * degree % 2 == 0 and (degree > 1 or count == 2))
    links = topology("random-regular", count, seed=seed, degree=degree).links
    assert (links.sum(axis=1) == degree).all()
    assert (links == topology("random-regular", count, seed=seed, degree=degree).links).all()


def test_gaps() -> None:
    for count in (3, 4, 5, 8, 17):
        gap = topology("ring", count).spectral_gap(1)
        assert gap == pytest.approx(1 - (1 + 2 * math.cos(2 * math.pi / count)) / 3, abs=1e-12)
        lazy = topology("ring", count, "lazy-metropolis").spectral_gap(1)
        assert lazy == pytest.approx(0.5 - math.cos(2 * math.pi / count) / 2, abs=1e-12)
        assert topology("complete", count).spectral_gap(1) == pytest.approx(1, abs=1e-12)
    # Ying et al. 2021: 1 - beta = 2 / (1 + ceil(log2 n)) for even n, and a greater gap for odd n.
    for count in (4, 6, 8, 10, 16):
        expected = 2 / (1 + math.ceil(math.log2(count)))
        assert topology("exponential", count).spectral_gap(1) == pytest.approx(expected, abs=1e-12)
    torus = topology("torus", 16).spectral_gap(1)  # (1 + 2 + 2 cos(pi / 2)) / 5 is the second eigenvalue
    assert torus == pytest.approx(0.4, abs=1e-12)


def test_weights_by_hand() -> None:
    star = np.zeros((4, 4), dtype=bool)
    star[0, 1:] = star[1:, 0] = True
    third = [[1 / 4] * 4, [1 / 4, 3 / 4, 0, 0], [1 / 4, 0, 3 / 4, 0], [1 / 4, 0, 0, 3 / 4]]
    np.testing.assert_allclose(mixing_matrix(star), third, atol=1e-15)
    lazy = topology("ring", 4, "lazy-metropolis").mixing(1)
    np.testing.assert_allclose(lazy @ [0, 4, 8, 12], [4, 4, 8, 8])


def test_one_peer_exponential_is_exact_after_its_period() -> None:
    made = topology("one-peer-exponential", 8)
    assert len(made.links) == 3
    assert (made.links.sum(axis=2) == 1).all()
    product = made.mixing(3) @ made.mixing(2) @ made.mixing(1)
    np.testing.assert_allclose(product, 1 / 8, atol=1e-15)
    np.testing.assert_array_equal(made.mixing(4), made.mixing(1))


def test_shapes() -> None:
    assert topology("torus", 12).links.sum() == 12 * 4  # 3 by 4
    assert topology("torus", 12, rows=2).links.sum() == 12 * 3  # both neighbours in a column are one
    assert topology("ring", 2).links.sum() == 2
    assert topology("complete", 5).links.sum() == 20
    receives = topology("exponential", 8).links[0][0]
    assert np.flatnonzero(receives).tolist() == [1, 2, 4]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "links.txt"
    path.write_text("\ufeff# a path and a chord\n0 1\n1,2\n\n2\t3 # the last\n 3 ; 1\n1 0\n")
    links = topology("file", 4, file=str(path)).links[0]
    assert sorted(map(tuple, np.argwhere(np.triu(links)).tolist())) == [(0, 1), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 1\n2 3", "does not connect the 4 clients of clients.count: the model of client 2 never"),
        ("0 1\n1 2", "the model of client 3"),
        ("", "does not connect"),
        ("0 1\n1 1", "line 2 of .* links client 1 to itself"),
        ("0 1\n1 4", "line 2 of .* names client 4, but the clients of clients.count = 4 are 0 to 3"),
        ("0 1 2", "line 1 of .* must be two client numbers such as '0 1', not '0 1 2'"),
        ("0 -1", "must be two client numbers"),
        ("0 1.0", "must be two client numbers"),
        ("a b", "must be two client numbers"),
        ("0 99999999999999999999", "must be two client numbers"),
    ],
)
def test_files_that_say_nothing_of_use(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "links.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        _ = topology("file", 4, file=str(path)).links


@settings(max_examples=60)
@given(text=st.text(alphabet="0123 ,;#\n-x٣", max_size=30))
def test_whatever_is_in_a_file_is_links_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-links.txt"
    path.write_text(text, encoding="utf-8")
    try:
        links = topology("file", 4, file=str(path)).links[0]
    except UserError as error:
        said = str(error)
        assert re.fullmatch(r"topology\.(file|name).+", said)  # one line: no dot of it is a line break
    else:
        assert (links == links.T).all()
        assert not links.diagonal().any()


@pytest.mark.parametrize(
    ("name", "count", "parameters", "says"),
    [
        ("ring", 1, {}, "clients.count = 1: a topology takes from 2 to 4096 clients"),
        ("complete", 5000, {}, "clients.count = 5000"),
        ("random-regular", 5, {"degree": 3}, "topology.degree = 3 times clients.count = 5 is odd"),
        ("random-regular", 4, {"degree": 4}, "each can have at most 3 neighbours"),
        ("random-regular", 4, {"degree": 1}, "makes pairs, which do not connect"),
        ("random-regular", 4, {"degree": 0}, "topology.degree must be greater than 0"),
        ("torus", 7, {}, "topology.rows = 1 does not divide clients.count = 7 into a grid"),
        ("torus", 12, {"rows": 5}, "topology.rows = 5"),
        ("torus", 12, {"rows": 12}, "topology.rows = 12"),
        ("ring", 4, {"degree": 2}, "topology.degree"),
        ("rings", 4, {}, "topology.name: there is no 'rings'; did you mean 'ring'"),
        ("file", 4, {}, "topology.name 'file' needs topology.file"),
        ("file", 4, {"file": "/nowhere/links"}, "topology.file"),
    ],
)
def test_there_are_no_such_links(name: str, count: int, parameters: dict[str, Value], says: str) -> None:
    with pytest.raises(UserError, match=says):
        _ = topology(name, count, **parameters).links


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("np.eye(n, dtype=bool)", "links client 0 to itself"),
        ("np.zeros((n, n))", "must return booleans"),
        ("np.zeros((0, n, n), dtype=bool)", "returned an empty stack of links"),
        ("np.eye(n, k=1, dtype=bool)", "one-way links"),
        ("np.ones((2, 2), dtype=bool)", "must return booleans of shape"),
    ],
)
def test_faulty_ones_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    (tmp_path / "topologies").mkdir()
    code = f"import numpy as np\n\n\ndef links(n, generator):\n    return {body}\n"
    (tmp_path / "topologies" / "mine.py").write_text(code)
    monkeypatch.setenv("FLOWERBED_PLUGINS", str(tmp_path))
    with pytest.raises(UserError, match=says):
        _ = topology("mine", 4).links


def test_a_gap_is_never_below_zero() -> None:
    assert (
        topology("one-peer-exponential", 16).spectral_gap(4) == 0
    )  # pairs that average with each other alone
