import importlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.global_generators import Generator, seed_again, seeded_globally
from common.plugin_modules import import_from

_GLOBAL = np.random.mtrand._rand  # what the functions of ``np.random`` draw from
DRAWS: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.rand(2).tolist(),
    "normal": lambda: torch.randn(3).tolist(),
    "numpy": lambda: _GLOBAL.rand(),
    "gauss": lambda: _GLOBAL.standard_normal(),  # keeps the second number of a pair
    "python": random.random,
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_block_draws_the_numbers_of_its_seed_and_leaves_no_trace(name: str) -> None:
    draw = DRAWS[name]
    seed_again(5)
    undisturbed = [draw() for _ in range(4)]

    seed_again(5)
    seen = [draw()]
    with seeded_globally(7):
        first = draw(), draw()
    seen += [draw(), draw()]
    with pytest.raises(KeyError), seeded_globally(7):
        raise KeyError(draw())
    assert [*seen, draw()] == undisturbed
    with seeded_globally(8):
        assert (draw(), draw()) != first


def test_blocks_in_blocks() -> None:
    with seeded_globally(1):
        expected = torch.rand(3).tolist()
    with seeded_globally(1):
        seen = torch.rand(1).tolist()
        with seeded_globally(2):
            torch.rand(5)
        assert seen + torch.rand(2).tolist() == expected


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (torch.Generator, lambda g: torch.rand(1, generator=g).item()),
        (np.random.default_rng, lambda g: g.random()),
        (lambda: np.random.Generator(np.random.MT19937(3)), lambda g: g.standard_normal()),
        (np.random.RandomState, lambda g: g.rand()),
        (random.Random, lambda g: g.random()),
    ],
)
def test_generators_of_ones_own(make: Callable[[], Generator], draw: Callable[[Any], float]) -> None:
    generator, twin = make(), make()
    handed_over = [draw(generator), draw(generator)]
    with seeded_globally(3, own=[generator]):
        first = draw(generator)
        seed_again(3, own=[generator])
        assert draw(generator) == first
    with seeded_globally(3, own=[twin]):
        assert draw(twin) == first
    with seeded_globally(3, own=[generator]):
        assert draw(generator) == first
    assert draw(generator) not in (*handed_over, first)


def test_the_largest_seed_is_taken_by_all() -> None:
    with seeded_globally(2**63 - 1, own=[np.random.default_rng(), random.Random(), torch.Generator()]):
        assert [draw() for draw in DRAWS.values()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_generator_is_one_of_them() -> None:
    torch.cuda.manual_seed(5)
    expected = torch.rand(2, device="cuda").tolist()
    torch.cuda.manual_seed(5)
    with seeded_globally(1, "cuda"):
        first = torch.rand(2, device="cuda").tolist()
    with seeded_globally(1, "cuda"):
        assert torch.rand(2, device="cuda").tolist() == first
    assert torch.rand(2, device="cuda").tolist() == expected


@pytest.mark.parametrize("kind", DRAWS)
def test_a_block_knows_whether_it_has_drawn(kind: str) -> None:
    with seeded_globally(3) as drew:
        assert not drew()
        first = DRAWS[kind]()
        assert drew()
        second = DRAWS[kind]()
        assert drew()
    with seeded_globally(3) as drew:
        assert [DRAWS[kind](), drew(), DRAWS[kind]()] == [first, True, second]


def test_a_block_knows_whether_other_generators_have_drawn() -> None:
    own = np.random.default_rng(0)
    with seeded_globally(3, own=[own]) as drew:
        assert not drew()
        own.random()
        assert drew()


def fresh() -> list[float]:
    """Numbers of generators that are made without a seed."""
    legacy = np.random.RandomState()
    return [np.random.default_rng().random(), legacy.random_sample(), random.Random().random()]


def test_generators_that_are_made_within_a_block_depend_on_its_seed() -> None:
    with seeded_globally(1):
        one, two = fresh(), fresh()
        seed_again(1)
        again = fresh()
    with seeded_globally(2):
        other = fresh()
    with seeded_globally(1):
        once_more = fresh()
    assert one == again == once_more
    assert not set(one) & {*two, *other}
    assert fresh() != fresh()  # outside they are the system's


def test_generators_of_modules_that_users_wrote_are_seeded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "losses").mkdir()
    text = "import random\nimport numpy as np\nRNG = np.random.default_rng()\n"
    text += "class A:\n    rng = random.Random()\n"
    (tmp_path / "losses" / "own.py").write_text(text)
    module = import_from(tmp_path, "losses.own")

    def draw(seed: int) -> list[float]:
        with seeded_globally(seed):
            return [module.RNG.random(), module.A.rng.random()]

    assert draw(1) == draw(1)
    assert not set(draw(1)) & set(draw(2))
    monkeypatch.setattr(module, "RNG", random.SystemRandom())
    with pytest.raises(UserError, match="has no seed"):
        draw(1)
    del sys.modules[module.__name__]


def test_what_an_import_makes_leaves_the_numbers_of_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first block of a process imports: a resumed run would go on with other numbers."""
    (tmp_path / "makes_generators.py").write_text(
        "import random\nimport numpy as np\nPYTHON, NUMPY = random.Random(), np.random.default_rng()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    numbers = []
    for _ in range(2):
        with seeded_globally(7) as has_drawn:
            importlib.import_module("makes_generators")
            assert not has_drawn()
            numbers.append((random.Random().random(), np.random.default_rng().random()))
    monkeypatch.delitem(sys.modules, "makes_generators")
    assert numbers[0] == numbers[1]
