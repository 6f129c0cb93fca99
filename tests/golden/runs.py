"""One short run on the digits for each method, and how far its curve may be from the kept one.

The numbers depend on the order of float32 sums, which differs between processors and versions of torch.
``python -m tests.golden.renew --spread`` measures by how much: it repeats each run with every initial weight
changed by 1e-6 of itself, some ten times the rounding of a float32, and without oneDNN. Where this was
measured, losses moved by 4e-4 of themselves or less, and a tenth more learning rate moved some value by
several tolerances. Networks with BatchNorm amplify rounding from round to round, the more so the
smaller their maps are: they have one round, and images of 32 x 32.
"""

import math
from pathlib import Path

import pandas as pd

from clients.app import app
from common.config import Config
from common.config_values import merge
from common.sections import Value
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.rows import untimed

FOLDER = Path(__file__).parent
LEARNING_RATE = "optimizer.learning-rate"

COMMON: dict[str, Value] = {
    "rounds": 6,
    "clients.count": 8,
    "clients.fraction": 0.5,
    "clients.evaluate-fraction": 1.0,
    "local.epochs": 1,
    "local.batch-size": 32,
    "optimizer.learning-rate": 0.05,
    "model.name": "mlp",
    "evaluate.every": 1,
    "checkpoint.every": 100,
}
_IMAGES: dict[str, Value] = {
    "dataset.image-size": 32,
    "partition.name": "iid",
    "local.batch-size": 60,
    "optimizer.learning-rate": 0.1,
    "rounds": 1,
}
_RESNET: dict[str, Value] = {"model.name": "stage-resnet", "model.blocks": "1-1-1-2", "model.width": 4}
_SIZES: dict[str, Value] = {
    **_IMAGES,
    **_RESNET,
    "model.sizes": "1,1-1-1-2",
    "batch-norm.policy": "recalibrate",
}
_WIDTHS: dict[str, Value] = {**_SIZES, "model.sizes": "a,b"}
_EXITS: dict[str, Value] = {**_WIDTHS, "model.exits": "3", "model.sizes": "d1w0.5,d2"}
_PRIVATE: dict[str, Value] = {
    "privacy.clipping": "fixed",
    "privacy.clip-norm": 0.5,
    "privacy.noise-multiplier": 0.05,
}
_LONG_TAIL: dict[str, Value] = {
    "dataset.imbalance-factor": 0.1,
    "partition.name": "fed-lt",
    "clients.test-data": "training-distribution",
}
_ALL_CLIENTS: dict[str, Value] = {"clients.fraction": 1.0, "optimizer.momentum": 0.9}
# Every method, with what makes it do all that it can; the others have COMMON alone.
RUNS: dict[str, dict[str, Value]] = {
    "a2cid2": {"clients.fraction": 1.0, "clock.spread": 0.5},
    "afl": {},
    "apfl": {},
    "balanced-softmax": {},
    "creff": {**_LONG_TAIL, "method.matching-steps": 5, "method.retraining-epochs": 20},
    "ditto": {},
    "episode": {"method.clip-norm": 1.0, "method.gradient-batches": 1},
    "episode-mem": {"method.clip-norm": 1.0},
    "fedadagrad": {},
    "fedadam": {},
    "fedala": {"method.window": 2},
    "fedalt": {},
    "fedasync": {"clock.spread": 0.5},
    "fedavg": {"optimizer.momentum": 0.9, "optimizer.weight-decay": 1e-3, "schedule.name": "cosine"},
    "fedavgm": {},
    "fedbabu": {},
    "fedbn": {**_IMAGES, **_RESNET, "model.width": 8},
    "fedbuff": {"method.buffer-size": 3, "clock.spread": 0.5, "clock.jitter": 0.5},
    "fedcm": {"local.epochs": 2},
    "feddisco": {},
    "feddyn": {},
    "fedexp": {"local.epochs": 2},
    "fedetf": {**_LONG_TAIL, "method.alternation-epochs": 1},
    "fedgkd": {"method.gamma": 2.0, "method.buffer-size": 3},
    "fedlc": {"method.tau": 2.0},
    "fedloge": {**_LONG_TAIL, "method.head-steps": 200},
    "fednova": {"stragglers.fraction": 0.5},
    "fedntd": {},
    "fedper": {},
    "fedprox": {"method.mu": 0.5},
    "fedprox-norm": {"method.mu": 0.5},
    "fedrep": {"local.epochs": 2},
    "fedrod": _LONG_TAIL,
    "fedrolex": _WIDTHS,
    "fedsam": {},
    "fedsim": {},
    "fedyogi": {},
    "geometric-median": {},
    "gossip-pga": {**_ALL_CLIENTS, "method.period": 2, "topology.name": "torus"},
    "gossip-sgd": {**_ALL_CLIENTS, "method.momentum": "average", "method.order": "combine-then-adapt"},
    "heteroavg": {**_SIZES, "method.inco": True},
    "heterofl": _WIDTHS,
    "heteromoon": {**_SIZES, "method.inco": True},
    "heteronova": _SIZES,
    "heteroprox": {**_SIZES, "method.mu": 0.5},
    "heteroscaffold": _SIZES,
    "ifca": {},
    "knn-per": {},
    "local-only": {},
    "localsgd": {"local.steps": 8, "local.epochs": 0, "local.phases": "24:4", "optimizer.momentum": 0.9},
    "mime-lite": {},
    "minibatch-sgd": {},
    "moon": {"model.name": "small-cnn"},
    "norm-bounding": {"method.bound": 0.3},
    "per-fedavg": {},
    "pfedhn": {"method.hidden-size": 8, "method.hidden-layers": 1},
    "pfedme": {},
    "q-ffl": {},
    "ratio-loss": {},
    "scaffold": {},
    "scalefl": _EXITS,
    "slowmo": {},
    "privacy": {
        "method.name": "fedavg",
        "privacy.clipping": "fixed",
        "privacy.clip-norm": 0.5,
        "privacy.noise-multiplier": 0.05,
    },
}

# Relative, and absolute for what counts test samples: accuracies and scores.
RELATIVE = 1e-3
ABSOLUTE = 0.01
COUNTED = ("accuracy", "f1")
# The rate of a round is what is configured: a wrong one is to be seen by what it does.
_NOT_COMPARED = "learning_rate"


def curve(name: str, directory: Path, **changes: Value) -> pd.DataFrame:
    """Make a run and return its curve."""
    overrides = COMMON | {"method.name": name} | RUNS[name] | {"run.directory": str(directory)} | changes
    config = Config.from_flat(merge(overrides))
    grid = SequentialGrid(app, config.clients.count, config.flat())
    return read_curve(run_experiment(config, grid, PlainLines()) / "metrics.csv")


def learning_rate(name: str) -> float:
    """Return the learning rate of a run."""
    return float((COMMON | RUNS[name])[LEARNING_RATE])


def read_curve(path: Path) -> pd.DataFrame:
    """Read a curve, by round."""
    return untimed(pd.read_csv(path)).drop(columns=_NOT_COMPARED, errors="ignore").set_index("round")


def golden(name: str) -> Path:
    """Return the file of the kept curve."""
    return FOLDER / f"{name}.csv"


def differences(kept: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """Say where a curve leaves the tolerances of the kept one; columns that this lacks do not count."""
    problems = [f"there is no column {column}" for column in kept if column not in found]
    if list(kept.index) != list(found.index):
        problems.append(f"rounds {list(found.index)} instead of {list(kept.index)}")
    if problems:
        return problems
    return [
        f"round {number}: {column} is {found.at[number, column]:.6g}, was {kept.at[number, column]:.6g}"
        for column in kept
        for number in kept.index
        if not _is_close(column, float(kept.at[number, column]), float(found.at[number, column]))
    ]


def _is_close(column: str, kept: float, found: float) -> bool:
    if math.isnan(kept) or math.isnan(found):
        return math.isnan(kept) and math.isnan(found)
    if any(word in column for word in COUNTED):
        return abs(found - kept) <= ABSOLUTE
    is_count = kept.is_integer() and "loss" not in column
    return kept == found if is_count else abs(found - kept) <= RELATIVE * abs(kept)
