import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from common.errors import UserError
from common.randomness import torch_generator
from models.heads import head_cache
from models.heads.head_cache import HeadSpec, cached_sse_c
from models.heads.sse_c import angles, dense_etf, equiangularise, frame, make_sse_c, random_mask, sse_c_loss

SPEC = HeadSpec(3, 8, 0.5, 0.1, 20, 1e-3, 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch_generator(seed, "sse-c")


def rows(*columns: tuple[float, ...]) -> Tensor:
    return torch.tensor(columns, dtype=torch.float64)


HEAD = rows((0.3, 0, 0.4), (0, 0.4, 0.3))


def test_frame_of_the_first_axes() -> None:
    head = frame(torch.eye(4, 3, dtype=torch.float64))
    expected = torch.full((3, 4), -0.408248, dtype=torch.float64)
    expected[:, :3].fill_diagonal_(0.816497)
    expected[:, 3] = 0
    torch.testing.assert_close(head, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(head @ head.T, torch.eye(3, dtype=torch.float64) * 1.5 - 0.5)


@pytest.mark.parametrize(("num_classes", "num_features"), [(2, 2), (10, 64), (7, 7)])
def test_a_dense_frame_is_equiangular_whatever_its_basis(num_classes: int, num_features: int) -> None:
    head = dense_etf(num_classes, num_features, generator())
    ideal = math.degrees(math.acos(-1 / (num_classes - 1)))
    torch.testing.assert_close(angles(head), torch.full_like(angles(head), ideal), atol=1e-4, rtol=0)
    torch.testing.assert_close(head.norm(dim=1), torch.ones(num_classes, dtype=torch.float64))
    rotation = torch.linalg.qr(torch.rand(num_features, num_features, generator=generator(1))).Q.double()
    torch.testing.assert_close(angles(head @ rotation), angles(head), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(10, 9), (1, 4)])
def test_a_frame_needs_as_many_features_as_classes(shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="use a wider model"):
        dense_etf(*shape, generator())


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.6, 3072), (0.0, 0), (0.29, 1484)])
def test_the_mask_has_exactly_so_many_zeros(sparsity: float, zeros: int) -> None:
    mask = random_mask(10, 512, sparsity, generator())
    assert int((mask == 0).sum()) == zeros
    assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_loss_and_gradient() -> None:
    loss, gradient = sse_c_loss(HEAD, 0.1)
    assert loss.item() == pytest.approx(0.32 - 1.0701416, abs=1e-6)
    expected = rows((-0.176583, 0, 1.132438), (0, -0.235445, 1.647260))
    torch.testing.assert_close(gradient * (HEAD != 0), expected, atol=1e-6, rtol=0)
    assert sse_c_loss(torch.cat([HEAD, rows((0.5, 0, 0))]), 0.1)[0].item() == pytest.approx(
        -0.4949107, abs=1e-6
    )


def test_gradient_is_that_of_autograd() -> None:
    head = torch.randn(6, 9, dtype=torch.float64, generator=generator()).requires_grad_()
    units = torch.nn.functional.normalize(head, dim=1)
    cosines = (units @ units.T).masked_fill(torch.eye(6, dtype=torch.bool), -2).amax(dim=1)
    loss = ((head.norm(dim=1) - 0.1) ** 2).sum() - cosines.clamp(-0.99999, 0.99999).arccos().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    value, gradient = sse_c_loss(head.detach(), 0.1)
    torch.testing.assert_close(value, loss.detach())
    torch.testing.assert_close(gradient, head.grad)


def test_parallel_rows_have_no_gradient_of_the_angle() -> None:
    _, gradient = sse_c_loss(rows((0.1, 0), (0.1, 0)), 0.1)
    torch.testing.assert_close(gradient, torch.zeros(2, 2, dtype=torch.float64))


def test_one_step_of_adam() -> None:
    after = equiangularise(HEAD, (HEAD != 0).double(), 0.1, steps=1)
    torch.testing.assert_close(after, rows((0.3001, 0, 0.3999), (0, 0.4001, 0.2999)), atol=1e-6, rtol=0)


def test_steps_are_those_of_torch() -> None:
    mask = random_mask(4, 12, 0.4, generator())
    start = dense_etf(4, 12, generator()) * mask
    head = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([head], lr=1e-3)
    for _ in range(30):
        head.grad = sse_c_loss(head.detach(), 0.1)[1] * mask
        optimizer.step()
    ours = equiangularise(start, mask, 0.1, steps=30, learning_rate=1e-3)
    torch.testing.assert_close(ours, head.detach())


# Fewer than the 10,000 steps: what they lack is less than the tolerance.
@pytest.mark.parametrize(
    ("num_classes", "steps", "zeros", "ideal", "off", "norm"),
    [(10, 4000, 3072, 96.3794, 0.01, 0.1006), (100, 2500, 30720, 90.578, 0.002, 0.1002)],
)
def test_end_of_the_construction(
    num_classes: int, steps: int, zeros: int, ideal: float, off: float, norm: float
) -> None:
    before = random_mask(num_classes, 512, 0.6, generator())
    assert int((before == 0).sum()) == zeros
    head = make_sse_c(num_classes, 512, generator(), steps=steps)
    assert int((head == 0).sum()) == zeros
    torch.testing.assert_close(head.norm(dim=1), torch.full((num_classes,), norm), atol=0.0005, rtol=0)
    assert angles(head).mean().item() == pytest.approx(ideal, abs=off)
    assert head.norm(dim=1).mean().item() == pytest.approx(norm, abs=0.0005)


def test_start_of_the_construction() -> None:
    for num_classes, lowest, highest in ((10, 1.15, 1.4), (100, 26.75, 27.45)):
        source = generator()
        dense = dense_etf(num_classes, 512, source)
        start = dense * random_mask(num_classes, 512, 0.6, source)
        assert start.norm(dim=1).mean().item() == pytest.approx(0.4**0.5, abs=0.02)
        assert lowest < sse_c_loss(start, 0.1)[0].item() < highest


@pytest.mark.slow  # all of the steps
def test_end_of_the_whole_construction() -> None:
    head = make_sse_c(10, 512, generator())
    assert int((head == 0).sum()) == 3072
    assert -1.68105 < sse_c_loss(head.double(), 0.1)[0].item() < -1.68055
    assert 96.3775 < angles(head).mean().item() < 96.3794
    assert 0.0035 < angles(head).var(correction=0).item() < 0.0085
    torch.testing.assert_close(head.norm(dim=1), torch.full((10,), 0.1006), atol=0.0005, rtol=0)


def test_a_class_without_any_weight_is_refused() -> None:
    with pytest.raises(UserError, match="leaves no weight to a class"):
        make_sse_c(4, 5, generator(), sparsity=0.95, steps=1)


@pytest.fixture
def count_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count optimisations, with an empty cache of its own."""
    monkeypatch.setenv("FLOWERBED_CACHE", str(tmp_path / "cache"))
    made: list[HeadSpec] = []
    make = head_cache._make

    def counted(spec: HeadSpec) -> Tensor:
        made.append(spec)
        return make(spec)

    monkeypatch.setattr(head_cache, "_make", counted)
    cached_sse_c.cache_clear()
    return lambda: len(made)


def test_a_second_process_does_not_optimise_again(count_makes: Callable[[], int], tmp_path: Path) -> None:
    head = cached_sse_c(SPEC)
    cached_sse_c.cache_clear()  # a new process remembers nothing
    assert torch.equal(cached_sse_c(SPEC), head)
    assert count_makes() == 1
    cached_sse_c(replace(SPEC, norm=0.2))
    cached_sse_c(replace(SPEC, seed=1))
    assert count_makes() == 3


def test_what_is_kept_is_what_is_asked_for(count_makes: Callable[[], int]) -> None:
    specs = (
        SPEC,
        replace(SPEC, num_classes=4, num_features=9),
        replace(SPEC, sparsity=0.25),
        replace(SPEC, norm=0.3),
        replace(SPEC, steps=3),
        replace(SPEC, learning_rate=0.01),
        replace(SPEC, seed=7),
    )
    heads = []
    for spec in specs:
        expected = make_sse_c(
            spec.num_classes,
            spec.num_features,
            generator(spec.seed),
            sparsity=spec.sparsity,
            norm=spec.norm,
            steps=spec.steps,
            learning_rate=spec.learning_rate,
        )
        assert torch.equal(cached_sse_c(spec), expected)
        heads.append(expected)
    assert count_makes() == len(specs)
    assert not any(torch.equal(heads[0], head) for head in heads[1:])


@pytest.mark.parametrize("content", [b"", b"no head", b"\x00" * 64])
def test_a_damaged_file_is_made_anew(count_makes: Callable[[], int], tmp_path: Path, content: bytes) -> None:
    head = cached_sse_c(SPEC)
    (file,) = (tmp_path / "cache").glob("*.safetensors")
    file.write_bytes(content)
    cached_sse_c.cache_clear()
    assert torch.equal(cached_sse_c(SPEC), head)
    assert count_makes() == 2
    assert head_cache._read(file, SPEC) is not None


def test_a_flipped_bit_of_a_value_is_noticed(count_makes: Callable[[], int], tmp_path: Path) -> None:
    head = cached_sse_c(SPEC)
    (file,) = (tmp_path / "cache").glob("*.safetensors")
    content = load(file.read_bytes())
    position = tuple(content["head"].nonzero()[0])
    content["head"][position] *= -1
    file.write_bytes(save(content))
    cached_sse_c.cache_clear()
    assert torch.equal(cached_sse_c(SPEC), head)
    assert count_makes() == 2


def test_without_a_cache_folder_it_is_made_all_the_same(
    count_makes: Callable[[], int], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    assert cached_sse_c(SPEC).shape == (3, 8)
