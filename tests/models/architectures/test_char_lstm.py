import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.errors import UserError
from models import build_model
from models.architectures.char_lstm import CharLstm
from models.configured import build_configured_model
from models.measures.evaluation import evaluate
from tests.common.configs import make_config

SMALL = {"hidden": 6, "embedding": 3}


def small(num_classes: int = 5, every_position: bool = False) -> CharLstm:
    model = build_model("char-lstm", (4,), num_classes, SMALL)
    assert isinstance(model, CharLstm)
    model.every_position = every_position
    return model


@pytest.mark.parametrize(("symbols", "count"), [(80, 819_920), (90, 822_570)])
def test_parameter_count(symbols: int, count: int) -> None:
    model = build_model("char-lstm", (80,), symbols)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    keras = 8 * symbols + 4 * 256 * (8 + 256 + 1) + 4 * 256 * (256 + 256 + 1) + 256 * symbols + symbols
    assert sum(p.numel() for name, p in model.named_parameters() if "bias_hh" not in name) == keras


def test_untrained_loss_is_about_log_80() -> None:
    model = build_model("char-lstm", (80,), 80)
    logits = model(torch.randint(0, 80, (8, 80), generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (8, 80)
    assert F.cross_entropy(logits, torch.arange(8)).item() == pytest.approx(4.382, abs=0.1)


def test_head_is_the_last_linear_layer() -> None:
    tokens = torch.randint(0, 5, (2, 4), generator=torch.Generator().manual_seed(0))
    for every_position in (False, True):
        model = small(every_position=every_position)
        assert isinstance(model.classifier, nn.Linear)
        assert list(dict(model.named_children()))[-1] == "classifier"
        features = model.features(tokens)
        assert features.shape == ((2, 4, 6) if every_position else (2, 6))
        logits = model.classifier(features)
        assert torch.equal(model(tokens), logits.transpose(1, 2) if every_position else logits)


@pytest.mark.parametrize("every_position", [False, True])
def test_a_projection_lies_between_features_and_head(every_position: bool) -> None:
    tokens = torch.randint(0, 5, (2, 4), generator=torch.Generator().manual_seed(0))
    model = build_model("char-lstm", (4,), 5, {**SMALL, "projection": 7})
    assert isinstance(model, CharLstm)
    model.every_position = every_position
    logits = model.classifier(model.embed(tokens))
    assert torch.equal(model(tokens), logits.transpose(1, 2) if every_position else logits)


def test_last_position_is_the_end_of_every_position_and_nothing_looks_ahead() -> None:
    tokens = torch.tensor([[1, 2, 3, 4]])
    model = small()
    last = model(tokens)
    model.every_position = True
    logits = model(tokens)
    assert logits.shape == (1, 5, 4)
    torch.testing.assert_close(logits[:, :, -1], last)
    torch.testing.assert_close(model(torch.tensor([[1, 2, 3, 0]]))[:, :, :3], logits[:, :, :3])


def test_other_parameters_can_be_put_in_its_place() -> None:
    """What methods rely on that compute the loss at other weights than the model's own."""
    model, other = small().double(), small().double()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    tokens = torch.tensor([[1, 2, 3, 4]])
    called = torch.func.functional_call(model, dict(other.named_parameters()), (tokens,))
    torch.testing.assert_close(called, other(tokens))
    assert not torch.allclose(called, model(tokens))


def test_padding_counts_neither_in_the_loss_nor_in_the_accuracy() -> None:
    model = small(every_position=True)
    tokens = torch.tensor([[1, 2, 3, 4], [2, 1, 0, 0], [3, 3, 3, 3]], dtype=torch.uint8)
    targets = torch.tensor([[2, 3, 4, 0], [1, -100, -100, -100], [3, 3, 3, -100]])
    with torch.no_grad():
        logits = model(tokens.int())
    known = targets >= 0
    losses = F.cross_entropy(logits.movedim(1, -1)[known], targets[known], reduction="none")
    hits = (logits.argmax(dim=1) == targets)[known].double()
    assert F.cross_entropy(logits, targets).item() == pytest.approx(losses.mean().item())

    sums = evaluate(model, tokens, targets, torch.Tensor.int, 5, batch_size=2)
    assert sums.count.tolist() == torch.bincount(targets[known], minlength=5).tolist()
    assert sums.mean() == pytest.approx((losses.mean().item(), hits.mean().item()))

    groups = torch.tensor([1, 0, 1])
    by_group = evaluate(model, tokens, targets, torch.Tensor.int, 5, batch_size=2, groups=groups)
    assert by_group.count.tolist() == [1, 7]
    assert by_group.mean() == pytest.approx(sums.mean())
    assert float(by_group.loss[1]) == pytest.approx(
        losses[(torch.arange(3)[:, None].expand(3, 4)[known] != 1)].sum().item()
    )


def test_text_and_images_do_not_mix() -> None:
    with pytest.raises(UserError, match="'char-lstm' takes text, not images of shape 3x32x32"):
        build_model("char-lstm", (3, 32, 32), 10)
    for name in ("mlp", "linear"):
        config = make_config({"model.name": name, "dataset.name": "shakespeare"})
        with pytest.raises(UserError, match=f"model '{name}' takes no text.*use 'char-lstm'"):
            build_configured_model(config, (80,), 80)
    with pytest.raises(UserError, match=r"takes images .*'char-lstm' for text"):
        build_configured_model(make_config({"model.name": "hsu-cnn"}), (80,), 80)


def test_the_data_set_decides_where_it_predicts() -> None:
    config = make_config({"model.name": "char-lstm", "model.hidden": 6})
    for target_shape, expected in (((), False), ((80,), True)):
        model = build_configured_model(config, (80,), 80, target_shape)
        assert isinstance(model, CharLstm)
        assert model.every_position == expected
