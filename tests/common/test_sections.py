"""What the sections of the configuration say beyond their keys."""

from common.sections import lower_is_better


def test_less_of_a_loss_is_better_also_of_a_size_or_a_variant() -> None:
    assert all(map(lower_is_better, ("test_loss", "test_loss_mean", "test_mse", "test_loss_mean|test_loss")))
    assert all(map(lower_is_better, ("validation_loss_realigned", "personal_loss_p10")))
    assert not any(map(lower_is_better, ("test_accuracy", "test_accuracy_mean", "glossy")))
