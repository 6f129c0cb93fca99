"""What somebody's own code gets wrong is one line that names it, with exit code 2."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.plugins import use_folders
from run_simulation import main
from runtimes.describe.keys import fields

SMALL = ["rounds=1", "clients.count=3", "clients.fraction=1.0", "local.epochs=0", "local.steps=1"]

RULE = "from common.step_rules import StepRule\nclass Mine(StepRule):\n    def steps(self, progress):\n"
SCHEME = (
    "from server.participation._scheme import ParticipationScheme\n"
    "class Mine(ParticipationScheme):\n    def select(self, selection):\n"
)
SCHEDULE = "from common.schedules import Schedule\nclass Mine(Schedule):\n    def by_round(self, t, n):\n"
AUGMENT = "def augment(inputs, generator):\n"
MODEL = "from torch import nn\ndef build(s, n):\n    return nn.Sequential(nn.Flatten(), "
SERVER = "import torch\nfrom strategies.fedavg import FedAvg\nclass MyOwn(FedAvg):\n"
GENERATOR = "    def weight(self, m):\n        self.g = torch.Generator()\n        return 1.0"
CLIENT = "from clients.base import Client\nclass MyOwn(Client):\n"
ARRAYS = "    def end_round(self, params):\n        return {'arrays': {'mine': params['conv1.weight']}}"
WRITES = "    def begin_round(self):\n        next(iter(self.global_params.values())).add_(1)"
ATTACK = (
    "from clients.local.attacks import Attack\nclass MyOwn(Attack):\n"
    "    def model(self, trained, start, generator):\n        return "
)
OBSERVER = (
    "from server.observers import Observer\nclass MyOwn(Observer):\n"
    "    def on_train(self, current):\n        current."
)
ZEROS = (
    "arrays\n        from common.records import to_tensors\n"
    "        to_tensors(current.arrays)['conv1.bias'].fill_(1)"
)
STATE = "row\n    def state(self):\n        return {'seen': {1, 2}}"
LOSS = (
    "from torch.nn.functional import cross_entropy\ndef loss(logits, targets):\n"
    "    mean = cross_entropy(logits, targets)\n    return "
)
GRADIENTS = CLIENT + "    def correct_gradients(self, params, grads):\n        "
NAMES, OTHER = CLIENT + "    def ", SERVER + "    def "
LIKE = "'conv1.wieght', which is not an entry of the model; did you mean 'conv1.weight'?"
TRANSFORM = SERVER + "    def transform_reply(self, sections):\n        return "
PARTITION = "import numpy as np\ndef partition(targets, num_clients, generator):\n"

WRONG_CLIENTS = [
    ("state_form(self):\n        pass", "MyOwn.state_form returns must be a mapping of sections, not None"),
    (
        "receives(self):\n        pass",
        "MyOwn.receives returns must be a mapping of names to clients.local.inc",
    ),
    (
        "receives(self):\n        return {'a': self.params}",
        "MyOwn.receives returns must be a mapping of names",
    ),
    ("personal_predictor(self):\n        pass", "MyOwn.personal_predictor returns must be a function from"),
    (
        "personal_predictors(self):\n        return None",
        "MyOwn.personal_predictors returns must be a mapping",
    ),
    (
        "personal_predictor(self):\n        return lambda inputs: None",
        "what the function from MyOwn.personal_predictor returns must be a tensor of the shape (",
    ),
    (
        "personal_predictor(self):\n        return lambda inputs: self.worker.model(inputs).argmax(1)",
        "must be floating-point numbers of the shape (",
    ),
    (
        "personal_model(self):\n        return {'conv1.bias': self.params['conv1.weight']}",
        "MyOwn.personal_model returns has 'conv1.bias' of shape",
    ),
]
WRONG_STRATEGIES = [
    (
        "variants(self, model):\n        pass",
        "MyOwn.variants returns must be a mapping of names to entries of",
    ),
    ("variants(self, model):\n        return {'a': None}", "MyOwn.variants returns as 'a' must be a mapping"),
    ("variants(self, model):\n        return {'a': {'conv1.wieght': model['conv1.bias']}}", LIKE),
    (
        "variants(self, model):\n        return {'a': {'conv1.bias': model['conv1.weight']}}",
        "as 'a' has 'conv1.bias' of shape",
    ),
    (
        "prelude_clients(self, r, c):\n        pass",
        "MyOwn.prelude_clients returns must be a list of client ids",
    ),
    (
        "prelude_clients(self, r, c):\n        return [3]",
        "client ids from 0 to 2, each at most once, not [3]",
    ),
    ("prelude_clients(self, r, c):\n        return [1, 1]", "each at most once, not [1, 1]"),
    ("cohort(self, r):\n        return [1, 1]", "MyOwn.cohort returns must be a list of client ids"),
    (
        "client_weight(self, m):\n        pass",
        "MyOwn.client_weight returns must be a finite number, at least 0",
    ),
    (
        "initial_model(self, m, s):\n        return {}",
        "lacks 'conv1.weight': return every entry of the model",
    ),
    (
        "initial_model(self, m, s):\n        return {**m, 'conv1.bias': m['conv1.weight']}",
        "MyOwn.initial_model returns has 'conv1.bias' as float32 of shape",
    ),
    ("num_working(self):\n        pass", "MyOwn.num_working returns must be a finite number, at least 0"),
]


@pytest.fixture(autouse=True)
def _no_folders_afterwards() -> Iterator[None]:
    yield
    use_folders("")


@pytest.mark.parametrize(
    ("file", "code", "key", "fault"),
    [
        ("partitions", PARTITION + "    return None", "partition.name", "a list of 3 arrays"),
        ("partitions", PARTITION + "    return [[0, 1]] * 3", "partition.name", "not deal a sample twice"),
        ("partitions", PARTITION + "    return [[0], [1], []]", "partition.name", "that is not empty"),
        ("partitions", PARTITION + "    return [[0], [1], [-1]]", "partition.name", "indices from 0 to 1436"),
        ("partitions", PARTITION + "    return [[0.5], [1], [2]]", "partition.name", "array of integers"),
        ("participation", SCHEME + "        return [0, 3]", "participation.name", "client ids from 0 to 2"),
        ("participation", SCHEME + "        return [1, 1]", "participation.name", "each client at most once"),
        ("participation", SCHEME + "        return []", "participation.name", "at least one client"),
        ("participation", SCHEME + "        return None", "participation.name", "from 0 to 2, not None"),
        (
            "models",
            "def build(shape, classes):\n    return 3",
            "model.name",
            "must build a torch.nn.Module, not 3",
        ),
        ("models", "def build(shape, classes):\n    return 1 / 0", "model.name", "my_own.py, line 2)"),
        ("augmentations", AUGMENT + "    return 1 / 0", "augmentation.name", "my_own.py, line 2)"),
        ("augmentations", AUGMENT + "    return inputs[..., 1:]", "augmentation.name", "must keep the shape"),
        (
            "optimizers",
            "def build(params, rate):\n    return 3",
            "optimizer.name",
            "torch.optim.Optimizer, not 3",
        ),
        (
            "clocks",
            "def seconds(count, generator):\n    return [0] * count",
            "clock.profile",
            "3 positive numbers",
        ),
        ("schedules", SCHEDULE + "        return -1.0", "schedule.name", "has the factor -1.0 in round 1"),
        (
            "schedules",
            SCHEDULE + "        return float('nan')",
            "schedule.name",
            "has the factor nan in round 1",
        ),
        ("step_rules", RULE + "        return 1.5", "steps.rule", "must return whole numbers, not 1.5"),
        ("partitions", PARTITION + "    targets[:] = 0", "partition.name", "destination is read-only"),
        ("models", MODEL + "nn.Linear(64, 7))", "model.name", "shape (2, 10), not the shape (2, 7)"),
        ("models", MODEL + "nn.Linear(63, n))", "model.name", "failed: RuntimeError: mat1 and mat2"),
        ("strategies", SERVER + "    def update(self, a, r):\n        pass", "method.name", "not None"),
        (
            "strategies",
            SERVER + "    def update(self, a, r):\n        return a",
            "method.name",
            "'arrays' is {",
        ),
        (
            "strategies",
            SERVER + "    def broadcast(self, r):\n        return 3",
            "method.name",
            "returns must",
        ),
        (
            "strategies",
            SERVER + "    def weight(self, m):\n        return -1.0",
            "method.name",
            "MyOwn.weight returns must be a finite number, at least 0, not -1.0",
        ),
        ("strategies", SERVER + GENERATOR, "method.name", "cannot be checkpointed: attribute 'g'"),
        (
            "clients",
            CLIENT + "    def end_round(self, params):\n        pass",
            "method.name",
            "not None; return {} if there are none",
        ),
        ("attacks", ATTACK + "{}", "attack.name", "it would be sent as it was trained"),
        (
            "observers",
            OBSERVER + "row['mine'] = 'text'",
            "observers",
            "'mine' to 'text': it must be a number",
        ),
        ("observers", OBSERVER + "row['test_accuracy'] = 1.0", "observers", "which is there already"),
        ("observers", OBSERVER + "row['a,b'] = 1.0", "observers", "a name begins with a letter"),
        ("observers", OBSERVER + "row.clear()", "observers", "removes the column 'round'"),
        ("observers", OBSERVER + ZEROS, "observers", "has written into 'conv1.bias' of the global model"),
        ("observers", OBSERVER + STATE, "observers", "what state() returns cannot be checkpointed"),
        (
            "clients",
            CLIENT + WRITES,
            "method.name",
            "MyOwn has written into 'conv1.weight' of received['arrays']",
        ),
        ("clients", CLIENT + ARRAYS, "method.name", "but 'mine' is not one of them"),
        ("losses", LOSS + "1.0", "loss.name", "what the loss 'my-own' returns must be a scalar tensor"),
        ("losses", LOSS + "mean[None]", "loss.name", "not float32 of shape (1,)"),
        ("losses", LOSS + "logits.argmax(1).sum()", "loss.name", "not int64 of shape ()"),
        ("losses", LOSS + "mean.detach()", "loss.name", "it has no gradient"),
        ("losses", LOSS + "mean * float('nan')", "loss.name", "is nan for the initial model, in the first"),
        (
            "clients",
            CLIENT + "    def loss(self, params, batch):\n        return super().loss(params, batch)[None]",
            "method.name",
            "what MyOwn.loss returns must be a scalar tensor of floating-point numbers",
        ),
        ("clients", GRADIENTS + "pass", "method.name", "MyOwn.correct_gradients returns must be a mapping"),
        (
            "clients",
            GRADIENTS + "grads.pop('conv1.bias'); return grads",
            "method.name",
            "lacks 'conv1.bias': return grads['conv1.bias'] to leave that gradient as it is",
        ),
        ("clients", GRADIENTS + "return {**grads, 'a': params['conv1.bias']}", "method.name", "has 'a', for"),
        (
            "clients",
            GRADIENTS + "return {n: g[None] for n, g in grads.items()}",
            "method.name",
            "it must be float32 of shape",
        ),
        ("clients", GRADIENTS + "return dict.fromkeys(grads)", "method.name", "'conv1.weight' is None"),
        (
            "strategies",
            TRANSFORM + "None",
            "method.name",
            "MyOwn.transform_reply returns must be a mapping of sections",
        ),
        ("strategies", TRANSFORM + "{}", "method.name", "lacks the section 'arrays', the client's model"),
        ("clients", NAMES + "trained_names(self):\n        pass", "method.name", "must be names of entries"),
        ("clients", NAMES + "trained_names(self):\n        return ['conv1.wieght']", "method.name", LIKE),
        ("clients", NAMES + "personal_names(self):\n        return ['conv1.wieght']", "method.name", LIKE),
        ("clients", NAMES + "initial_optimizer(self):\n        pass", "method.name", "must be a mapping"),
        ("clients", NAMES + "personal_model(self):\n        return [1]", "method.name", "not [1]"),
        ("strategies", OTHER + "initial_model(self, m, s):\n        pass", "method.name", "not None"),
        (
            "strategies",
            OTHER + "columns(self, r):\n        pass",
            "method.name",
            "of names to numbers, not None",
        ),
        (
            "strategies",
            OTHER + "columns(self, r):\n        return {'a': 'x'}",
            "method.name",
            "MyOwn.columns sets the column 'a' to 'x'",
        ),
        ("strategies", OTHER + "cohort(self, r):\n        return [0, 3]", "method.name", "ids from 0 to 2"),
        ("clients", CLIENT + "    def init_state(self):\n        return None", "method.name", "not None"),
        *(("clients", NAMES + code, "method.name", fault) for code, fault in WRONG_CLIENTS),
        *(("strategies", OTHER + code, "method.name", fault) for code, fault in WRONG_STRATEGIES),
    ],
)
def test_a_wrong_result_is_named(
    file: str,
    code: str,
    key: str,
    fault: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine" / file).mkdir(parents=True)
    (tmp_path / "mine" / file / "my_own.py").write_text(code + "\n")
    sets = [part for text in [*SMALL, f"{key}=my-own"] for part in ("--set", text)]
    arguments = [*sets, "--plugins", str(tmp_path / "mine"), "--run-dir", str(tmp_path / "run")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "my-own" in error or "my_own" in error or "MyOwn" in error or "a reply" in error
    assert fault in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("last", "is_noticed"), [(", nn.Softmax(dim=1)", True), ("", False)])
def test_probabilities_as_logits_are_noticed(
    last: str, is_noticed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "models").mkdir(parents=True)
    (tmp_path / "mine" / "models" / "my_own.py").write_text(f"{MODEL}nn.Linear(64, n){last})\n")
    keys = [*SMALL, "model.name=my-own", "analysis.draw=false"]
    sets = [part for text in keys for part in ("--set", text)]
    assert main([*sets, "--plugins", str(tmp_path / "mine"), "--run-dir", str(tmp_path / "run")]) == 0
    text = "model 'my-own' seems to end with a softmax"
    assert (text in (tmp_path / "run" / "log.txt").read_text()) == is_noticed


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (GRADIENTS + "grads.pop('classifier.bias'); return grads", "lacks 'classifier.bias'"),
        (
            CLIENT + "    def loss(self, params, batch):\n        return super().loss(params, batch)[None]",
            "what MyOwn.loss returns must be a scalar tensor",
        ),
        (
            NAMES + "trained_names(self):\n        return ['classifier.bias', 'b']",
            "has 'b', which is not an entry",
        ),
    ],
)
def test_a_wrong_result_is_named_where_clients_train_as_a_stack(
    code: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "clients").mkdir(parents=True)
    (tmp_path / "mine" / "clients" / "my_own.py").write_text(code + "\n")
    keys = [*SMALL, "method.name=my-own", "model.name=linear", "runtime.stack=3", "partition.name=iid"]
    sets = [part for text in keys for part in ("--set", text)]
    assert main([*sets, "--plugins", str(tmp_path / "mine"), "--run-dir", str(tmp_path / "run")]) == 2
    assert fault in capsys.readouterr().err


def test_a_spread_of_speeds_beyond_all_numbers_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--set", "method.name=fedbuff", "--set", "clock.spread=101"]) == 2
    error = capsys.readouterr().err
    assert "clock.spread must be less than or equal to 100" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("folder", "key", "code"),
    [
        ("partitions", "partition.name", "def partition(targets, n, g):\n    return targets.oops"),
        ("participation", "participation.name", SCHEME + "        return selection.oops"),
        ("step_rules", "steps.rule", RULE + "        return progress.oops"),
        (
            "observers",
            "observers",
            "from server.observers import Observer\nclass Mine(Observer):\n    def on_train(self, current):\n"
            "        current.oops",
        ),
        (
            "strategies",
            "method.name",
            "from strategies.fedavg import FedAvg\nclass Mine(FedAvg):\n    def update(self, a, r):\n"
            "        return self.oops",
        ),
    ],
)
def test_code_that_raises_is_named_with_its_line(
    folder: str, key: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / folder).mkdir(parents=True)
    file = tmp_path / "mine" / folder / "my_own.py"
    file.write_text(code + "\n")
    sets = [part for text in [*SMALL, f"{key}=my-own"] for part in ("--set", text)]
    assert main([*sets, "--plugins", str(tmp_path / "mine"), "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {file}, line {len(code.splitlines())}, failed: AttributeError: ")


def test_help_names_common_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    shown = set(re.findall(r"(?<![\w/-])[a-z]+(?:\.[a-z][a-z-]+)(?!\w|\.|/)", text)) - {"keys.md"}
    assert {"method.name", "optimizer.learning-rate", "local.epochs", "clients.count"} <= shown
    assert shown <= set(fields())


def test_plugins_must_be_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--set", "plugins=7"]) == 2
    assert "plugins must be folders, separated by commas, not 7" in capsys.readouterr().err
