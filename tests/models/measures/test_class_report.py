"""Accuracies by groups of classes, masked ones and F1, in closed form."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from models.measures.class_report import ClassReport, f1_scores, group_accuracies, mask_logits
from models.measures.evaluation import Evaluation, tally

LOGITS = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 5.0, 2.0]])
TARGETS = torch.tensor([0, 1, 2, 2])


def test_groups_and_masked_predictions() -> None:
    report = ClassReport(torch.tensor([0, 1, 2]), torch.tensor([False, True, True]))
    before = LOGITS.clone()
    results = report.measure(LOGITS, TARGETS)
    assert torch.equal(LOGITS, before)
    assert results["accuracy"] == 0.5  # of 0, 0, 2, 1
    assert [results[f"accuracy_{group}"] for group in ("head", "middle", "tail")] == [1.0, 0.0, 0.5]
    assert results["accuracy_masked"] == 0.25  # of 1, 2, 2, 1
    assert results["accuracy_masked_head"] == 0.0
    assert results["loss"] == pytest.approx(torch.nn.functional.cross_entropy(LOGITS, TARGETS).item())
    assert report.measure(LOGITS, TARGETS) == results


def test_classes_can_be_weighted() -> None:
    results = ClassReport(torch.tensor([0, 0, 2])).measure(LOGITS, TARGETS, torch.tensor([3, 1, 4]))
    assert results["accuracy"] == pytest.approx((3 * 1 + 1 * 0 + 4 * 0.5) / 8)
    assert results["accuracy_head"] == pytest.approx(3 / 4)
    assert "accuracy_middle" not in results
    assert not any("masked" in name for name in results)


def test_a_class_without_a_test_sample_has_no_say() -> None:
    results = ClassReport(torch.tensor([0, 1, 2])).measure(LOGITS[:1], TARGETS[:1], torch.tensor([1, 5, 5]))
    assert results["accuracy"] == 1.0
    assert "accuracy_tail" not in results


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_relations(pairs: list[tuple[int, int]], groups: list[int]) -> None:
    targets, predictions = map(torch.tensor, zip(*pairs, strict=True))
    logits = torch.nn.functional.one_hot(predictions, 4).float()
    sums = tally(logits, targets)
    accuracies = group_accuracies("a", sums, torch.tensor(groups))
    share = {
        name: sums.count[torch.tensor(groups) == index].sum().item() / len(targets)
        for index, name in enumerate(("a_head", "a_middle", "a_tail"))
    }
    overall = sum(accuracies[name] * share[name] for name in accuracies)
    assert overall == pytest.approx(sums.mean()[1], abs=1e-12)
    for average, own in zip(("macro", "weighted"), f1_scores(predictions, targets, sums.count), strict=True):
        assert own == pytest.approx(f1_score(targets, predictions, average=average, zero_division=0))
    # Masking classes that the test data lack never costs anything, and masking none changes nothing.
    present = sums.count > 0
    assert tally(mask_logits(logits, present), targets).mean()[1] >= sums.mean()[1]
    assert torch.equal(mask_logits(logits, torch.ones(4, dtype=torch.bool)), logits)


def test_tally_is_evaluations_sums() -> None:
    sums = tally(LOGITS, TARGETS)
    assert sums.count.tolist() == [1, 1, 2]
    assert sums.correct.tolist() == [1, 0, 1]
    expected = torch.nn.functional.cross_entropy(LOGITS.double(), TARGETS, reduction="none")
    assert sums.loss.tolist() == pytest.approx(
        [expected[0].item(), expected[1].item(), expected[2:].sum().item()], rel=1e-6
    )


def test_weights_of_groups_are_those_of_the_mean() -> None:
    sums = Evaluation(torch.tensor([10.0, 4.0]), torch.zeros(2), torch.tensor([8.0, 1.0]))
    assert group_accuracies("a", sums, torch.tensor([0, 0])) == {"a_head": pytest.approx(9 / 14)}
