"""Initial weights are a function of the arguments alone."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch

from models import build_model

ROOT = Path(__file__).parents[2]
DIGEST = """
import hashlib
from models import build_model
state = build_model("small-cnn", (1, 8, 8), 10, seed=3).state_dict()
print(hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest())
"""


def digest(model):
    state = model.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def test_same_seed_same_weights_whatever_happened_before():
    first = digest(build_model("small-cnn", (1, 8, 8), 10, seed=3))
    torch.rand(17)

    assert digest(build_model("small-cnn", (1, 8, 8), 10, seed=3)) == first


def test_other_seed_other_weights():
    assert digest(build_model("mlp", (1, 8, 8), 10, seed=3)) != digest(
        build_model("mlp", (1, 8, 8), 10, seed=4)
    )


def test_dropout_probabilities_do_not_change_the_weights():
    plain = build_model("small-cnn", (1, 8, 8), 10, {"dropout1": 0.0, "dropout2": 0})

    assert digest(plain) == digest(build_model("small-cnn", (1, 8, 8), 10))


def test_global_generator_is_untouched():
    state = torch.get_rng_state()

    build_model("resnet20", (3, 32, 32), 10, seed=1)

    assert torch.equal(torch.get_rng_state(), state)


def test_another_process_builds_the_same_weights():
    output = subprocess.run(
        [sys.executable, "-c", DIGEST],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert output.strip() == digest(build_model("small-cnn", (1, 8, 8), 10, seed=3))
