import pytest
import torch
from torch import Tensor

from common.records import Tensors
from models.heads.realignment import (
    Inference,
    logits,
    personal_logits,
    realign_globally,
    realign_locally,
    without_bias,
)
from models.measures.class_report import ClassReport, mask_logits


def head(weight: list[list[float]], bias: list[float]) -> Tensors:
    return {
        "weight": torch.tensor(weight, dtype=torch.float64),
        "bias": torch.tensor(bias, dtype=torch.float64),
    }


def values(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


PSI = head([[3, 4], [0, 2], [1, 0]], [0.1, 0, -0.1])
PHI = head([[0.6, 0.8], [0, 3], [0.3, 0.4]], [0.2, -0.2, 0])
ONE = values(1, 1)


def random_heads(num_classes: int = 5, num_features: int = 7) -> tuple[Tensors, Tensors]:
    generator = torch.Generator().manual_seed(3)
    first, second = (
        {
            "weight": torch.randn(num_classes, num_features, dtype=torch.float64, generator=generator),
            "bias": torch.randn(num_classes, dtype=torch.float64, generator=generator),
        }
        for _ in range(2)
    )
    return first, second


@pytest.mark.parametrize(
    ("kappa", "expected"),
    [(None, (3, 1.22)), (1.0, (1, 1.22)), (1.7, (1.7, 1.864)), (5.0, (5, 4.9))],
)
def test_global_realignment(kappa: float | None, expected: tuple[float, float]) -> None:
    raw = head([[3, 0], [0.8, 0.6]], [0, 0.3])
    realigned = raw if kappa is None else realign_globally(raw, kappa)
    torch.testing.assert_close(logits(realigned, values(1, 0.2)), values(*expected))


def test_global_realignment_changes_the_prediction() -> None:
    raw = head([[3, 4], [0.6, 0.8]], [0.5, 1])
    torch.testing.assert_close(logits(raw, values(1, 0.5)), values(5.5, 2.0))
    torch.testing.assert_close(logits(realign_globally(raw), values(1, 0.5)), values(2.2, 2.7))


def test_global_realignment_keeps_directions_and_takes_norms() -> None:
    psi, _ = random_heads()
    realigned = realign_globally(psi, 2.5)
    torch.testing.assert_close(realigned["weight"].norm(dim=1), torch.full((5,), 2.5, dtype=torch.float64))
    cosines = torch.cosine_similarity(realigned["weight"], psi["weight"], dim=1)
    torch.testing.assert_close(cosines, torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(realign_globally(realigned, 2.5), realigned)
    rescaled = {**psi, "weight": psi["weight"] * torch.rand(5, 1, dtype=torch.float64).add(0.1)}
    torch.testing.assert_close(realign_globally(rescaled, 2.5), realigned)
    assert torch.isfinite(realign_globally(head([[0, 0]], [1]))["weight"]).all()


def test_the_norm_decides_nothing_without_a_bias_or_with_equal_ones() -> None:
    psi, _ = random_heads()
    features = torch.randn(200, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    equal = {**psi, "bias": torch.full((5,), 0.7, dtype=torch.float64)}
    for bias_matters, base in ((False, without_bias(psi)), (False, equal), (True, psi)):
        small, large = (logits(realign_globally(base, kappa), features).argmax(1) for kappa in (0.5, 5.0))
        assert (not torch.equal(small, large)) is bias_matters


def test_local_realignment() -> None:
    realigned = realign_locally(PSI, PHI)
    torch.testing.assert_close(realigned["weight"], head([[3, 4], [0, 6], [0.5, 0]], [])["weight"])


@pytest.mark.parametrize(
    ("inference", "bias", "expected"),
    [
        ("paper", "global", (7.1, 6.0, 0.4)),
        ("paper", "local", (7.2, 5.8, 0.5)),
        ("readme", "global", (14.3, 7.8, 1.4)),
        ("code", "global", (8.7, 8.8, 1.1)),
        ("log", "global", (7.1 + 1.6, 2.0 + 2.8, 0.9 + 0.7)),
    ],
)
def test_published_forms(inference: Inference, bias: str, expected: tuple[float, ...]) -> None:
    result = personal_logits(ONE, PSI, PHI, inference, bias)  # type: ignore[arg-type]
    torch.testing.assert_close(result, values(*expected))


def test_without_the_class_that_it_predicts_another_is_predicted() -> None:
    result = personal_logits(ONE, PSI, PHI, "code")
    allowed = torch.tensor([True, False, True])
    assert result.argmax(1).tolist() == [1]
    assert mask_logits(result, allowed).argmax(1).tolist() == [0]
    report = ClassReport(torch.zeros(3, dtype=torch.int64), allowed)
    measured = report.measure(result, torch.tensor([0]))
    assert (measured["accuracy"], measured["accuracy_masked"]) == (0, 1)


@pytest.mark.parametrize("inference", ["code", "readme", "paper", "log"])
def test_masked_logits_predict_as_heads_with_masked_rows(inference: Inference) -> None:
    psi, phi = random_heads()
    features = torch.randn(300, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    allowed = torch.tensor([False, True, True, False, True])
    rows = [{**head, "weight": head["weight"].clone()} for head in (psi, phi)]
    for head in rows:
        head["weight"][~allowed] = -1e10  # as in the authors' code
    for seen, agrees in ((features.relu(), True), (features, False)):
        seen = seen[(seen != 0).any(dim=1)]
        ours = mask_logits(personal_logits(seen, psi, phi, inference), allowed).argmax(1)
        theirs = personal_logits(seen, *rows, inference).argmax(1)
        assert allowed[ours].all()
        assert torch.equal(ours, theirs) is agrees  # features with a sign promote what is masked


def test_local_realignment_scales_and_permutes_with_the_local_head() -> None:
    psi, phi = random_heads()
    realigned = realign_locally(psi, phi)["weight"]
    scaled = realign_locally(psi, {**phi, "weight": 3 * phi["weight"]})["weight"]
    torch.testing.assert_close(scaled, 3 * realigned)
    cosines = torch.cosine_similarity(realigned, psi["weight"], dim=1)
    torch.testing.assert_close(cosines, torch.ones(5, dtype=torch.float64))
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = [{name: value[order] for name, value in h.items()} for h in (psi, phi)]
    assert torch.equal(realign_locally(*shuffled)["weight"], realigned[order])
    assert torch.equal(realign_globally(shuffled[0])["weight"], realign_globally(psi)["weight"][order])


def test_nothing_is_written_to_a_head() -> None:
    psi, phi = random_heads()
    copies = [{name: value.clone() for name, value in h.items()} for h in (psi, phi)]
    features = torch.ones(2, 7, dtype=torch.float64)
    for inference in ("code", "readme", "paper", "log"):
        personal_logits(features, psi, phi, inference)  # type: ignore[arg-type]
    realign_globally(psi)
    for kept, now in zip(copies, (psi, phi), strict=True):
        assert all(torch.equal(kept[name], now[name]) for name in kept)


def test_heads_without_bias() -> None:
    psi, phi = ({"weight": h["weight"]} for h in (PSI, PHI))
    torch.testing.assert_close(personal_logits(ONE, psi, phi, "code"), values(7 + 1.4, 6 + 3, 0.5 + 0.7))
    assert list(realign_globally(psi)) == ["weight"]
