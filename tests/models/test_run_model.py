import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from models import load_run
from tests.conftest import Runner

CHANGES: list[tuple[str, Callable[[dict[str, object]], object], str]] = [
    ("classes", lambda card: card.update(classes=["a"]), "1 classes do not fit 10 outputs"),
    ("shape", lambda card: card.update(input_shape=[]), "input_shape"),
    ("mean", lambda card: card.update(mean=[0.1, 0.2]), "a number for each channel"),
    ("text", lambda card: card.update(mean=["x"]), "not numbers"),
    ("kind", lambda card: card.update(kind="sound"), "kind"),
    ("missing", lambda card: card.pop("model"), "model"),
    ("unknown", lambda card: card.update(model="my-own", parameters={}), "there is no 'my-own'"),
    ("other", lambda card: card.update(model="mlp", parameters={}), "does not fit model 'mlp'"),
    ("version", lambda card: card.update(format=2), "format"),
]


def test_raw_images_only(run_small: Runner) -> None:
    model = load_run(run_small(rounds=1))
    with pytest.raises(UserError, match="uint8 from 0 to 255, not float32"):
        model(torch.zeros(1, 1, 8, 8))
    with pytest.raises(UserError, match=r"samples x 1 x 8 x 8, not \(1, 3, 8, 8\)"):
        model.predict(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert model.predict([[[0] * 8] * 8]) == model.predict(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_damage_is_one_line(run_small: Runner) -> None:
    run = run_small(rounds=1)
    path: Path = run / "model.json"
    content = path.read_text()
    for name, change, expected in CHANGES:
        card = json.loads(content)
        change(card)
        path.write_text(json.dumps(card))
        with pytest.raises(UserError) as raised:
            load_run(run)
        assert expected in str(raised.value), name
        assert "\n" not in str(raised.value), name
    path.write_text(content)
    (run / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"model\.safetensors' cannot be read"):
        load_run(run)
