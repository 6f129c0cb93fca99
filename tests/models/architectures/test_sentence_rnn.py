"""The recurrent network for sentences, against its formulas."""

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from models import build_model
from models.architectures.sentence_rnn import SentenceRnn
from models.configured import build_configured_model
from tests.common.configs import make_config

SMALL = {"embedding": 3, "hidden": 2, "fc": 5, "tokens": 9}
TOKENS = torch.tensor([[2, 5, 7, 3], [2, 3, 0, 0]])


def small(**parameters: object) -> SentenceRnn:
    model = build_model("sentence-rnn", (4,), 3, {**SMALL, **parameters})  # type: ignore[dict-item]
    assert isinstance(model, SentenceRnn)
    return model.eval()


def by_hand(model: SentenceRnn, tokens: list[int]) -> Tensor:
    """Return the outputs of both directions, a row per token, h = tanh(W x + b + U h + c)."""
    weights = dict(model.recurrent.named_parameters())
    columns = []
    for suffix, order in (("", 1), ("_reverse", -1)):
        w_in, w_rec, b_in, b_rec = (
            weights[f"{name}_l0{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state, states = torch.zeros(2), []
        for token in tokens[::order]:
            state = torch.tanh(w_in @ model.embedding.weight[token] + b_in + w_rec @ state + b_rec)
            states.append(state)
        columns.append(torch.stack(states[::order]))
    return torch.cat(columns, dim=1)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_a_sentence_is_pooled_over_its_words(pooling: str) -> None:
    model = small(pooling=pooling)
    long, short = by_hand(model, [2, 5, 7, 3]), by_hand(model, [2, 3])
    expected = (
        torch.stack([long.amax(0), short.amax(0).clamp(min=0)])  # padding counts as 0
        if pooling == "max"
        else torch.stack([long.mean(0), short.mean(0)])
    )
    torch.testing.assert_close(model._encoded(TOKENS), expected)
    layers = [layer for layer in model.body if isinstance(layer, torch.nn.Linear)]
    hidden = torch.tanh(layers[1](torch.tanh(layers[0](expected))))
    torch.testing.assert_close(model(TOKENS), model.classifier(hidden))


def test_a_pair_is_u_v_their_distance_and_their_product() -> None:
    model = small(sentences=2, linear=True)
    first, second = TOKENS[:, :2], TOKENS[:, 2:]
    u, v = model._encoded(first), model._encoded(second)
    features = model.body(torch.cat([u, v, (u - v).abs(), u * v], dim=1))
    torch.testing.assert_close(model(TOKENS), model.classifier(features))
    assert model(torch.zeros(1, 4, dtype=torch.int32)).isfinite().all()  # no word at all


def test_the_number_of_words_is_that_of_the_data() -> None:
    config = make_config({"model.name": "sentence-rnn", "dataset.name": "sent140", "model.hidden": 2})
    model = build_configured_model(config, (4,), 2, (), True, 50)
    assert isinstance(model, SentenceRnn)
    assert (model.embedding.num_embeddings, model.classifier.out_features) == (50, 2)
    assert (
        build_configured_model(
            make_config({"model.name": "char-lstm", "model.hidden": 2}), (4,), 2, (), True, 50
        ).embedding.num_embeddings
        == 50
    )
    config = make_config({"model.name": "sentence-rnn", "dataset.name": "sent140", "model.tokens": 9})
    with pytest.raises(UserError, match=r"model\.tokens = 9 is below the data's 50 words"):
        build_configured_model(config, (4,), 2, (), True, 50)
    with pytest.raises(UserError, match="'hsu-cnn' does not take the words of dataset"):
        build_configured_model(make_config({"model.name": "hsu-cnn"}), (4,), 2, (), True, 50)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UserError, match="halves a sequence, and the data's have 5 tokens"):
        build_model("sentence-rnn", (5,), 3, {**SMALL, "sentences": 2})
    with pytest.raises(UserError, match="leaves dropout out"):
        small(linear=True, dropout=0.5)
    model = small()
    model.every_position = True
    with pytest.raises(UserError, match="one class for a text"):
        model(TOKENS)
