"""Use of a finished run: predictions, exports, clients' models, the confusion matrix."""

import csv
import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis.__main__ import main as analysis
from clients.app import app
from common.config_values import parse_toml
from common.defaults import PROJECT_ROOT
from common.sections import Value
from datasets.configured import open_dataset
from datasets.dataset import Dataset
from datasets.given_inputs import GivenInputs
from models import RunModel, load_run
from runtimes.prediction.confusion import confusion_of
from runtimes.prediction.predict import Predictions
from runtimes.sequential import SequentialGrid
from server.checkpoints.stored_config import stored_config
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import Runner, small_config

TABLE: dict[str, Value] = {
    "dataset__name": "csv", "model__name": "linear", "augmentation__name": "none", "clients__count": 2,
    "clients__fraction": 1.0, "partition__name": "iid", "rounds": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of FedAvg, which no test writes to."""
    config = small_config(tmp_path_factory.mktemp("finished") / "run", rounds=1)
    return run_experiment(config, SequentialGrid(app, config.clients.count, config.flat()), PlainLines())


def dataset_of(run: Path) -> Dataset:
    return open_dataset(stored_config(parse_toml((run / "config.toml").read_text(), "")))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def predict(*arguments: object) -> int:
    return analysis(["predict", *map(str, arguments)])


def write_table(root: Path, target: str) -> None:
    """Write tables whose columns have large offsets, a category, and a missing value."""
    root.mkdir()
    generator = np.random.default_rng(0)
    for part, size in (("train", 60), ("test", 20)):
        lines = ["a,colour,y"]
        for index, value in enumerate(generator.normal(1e6, 10, size)):
            label = f"{value - 1e6:.3f}" if target == "number" else ("low", "high")[int(value > 1e6)]
            lines.append(f"{'' if index == 3 else f'{value:.3f}'},{('red', 'blue')[index % 2]},{label}")
        (root / f"{part}.csv").write_text("\n".join(lines))


def test_predictions_that_cannot_be_written_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    Image.fromarray(dataset_of(run).test.inputs[0, 0].numpy()).save(tmp_path / "x.png")
    monkeypatch.setattr("runtimes.prediction.predict.write_atomic", full)
    capsys.readouterr()
    assert predict(run, tmp_path / "x.png", "--out", tmp_path / "p.csv") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(f"--out: cannot write {tmp_path / 'p.csv'}: No space left on device")


def test_images_are_predicted_as_they_were_evaluated(run: Path, tmp_path: Path) -> None:
    test = dataset_of(run).test
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, (image, label) in enumerate(zip(test.inputs.numpy(), test.targets.tolist(), strict=True)):
        Image.fromarray(image[0]).save(folder / f"{index:04d}-{label}.png")
    (folder / "notes.txt").write_text("no image")
    assert predict(run, folder, "--out", tmp_path / "p.csv") == 0
    rows = rows_of(tmp_path / "p.csv")
    assert len(rows) == len(test)
    hits = [Path(row["input"]).stem.endswith(f"-{row['prediction']}") for row in rows]
    assert np.mean(hits) == pytest.approx(rows_float(run)["test_accuracy"], abs=1e-6)
    shares = np.array([[float(row[f"p({digit})"]) for digit in range(10)] for row in rows])
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-4)
    model = load_run(run)
    assert model.classes == tuple("0123456789")
    assert model.predict(test.inputs) == [row["prediction"] for row in rows]
    loss = torch.nn.functional.cross_entropy(model(test.inputs), test.targets)
    assert float(loss.detach()) == pytest.approx(rows_float(run)["test_loss"], rel=1e-5)
    assert model.predict(test.inputs[0].numpy()) == model.predict(test.inputs[:1])


def rows_float(run: Path) -> dict[str, float]:
    last = rows_of(run / "metrics.csv")[-1]
    return {key: float(value) for key, value in last.items() if value}


def test_colours_and_other_sizes_are_made_the_models(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = np.zeros((8, 8, 3), dtype=np.uint8)
    colours[..., 0], colours[4:, :, 1] = 200, 90
    image = Image.fromarray(colours)
    image.save(tmp_path / "colour.png")
    image.convert("L").save(tmp_path / "grey.png")  # ITU-R 601 as well
    Image.fromarray(np.full((30, 20), 7, np.uint8)).save(tmp_path / "large.png")
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "small.png")
    names = ("colour", "grey", "large", "small")
    assert predict(run, *(tmp_path / f"{name}.png" for name in names), "--out", tmp_path / "p.csv") == 0
    assert "resized to the model's size: 1 of" in capsys.readouterr().err
    colour, grey, large, small = ({**row, "input": ""} for row in rows_of(tmp_path / "p.csv"))
    assert colour == grey != large == small


@pytest.mark.parametrize("target", ["class", "number"])
def test_rows_of_a_table_go_the_way_of_the_training_table(
    run_small: Runner, tmp_path: Path, target: str
) -> None:
    root = tmp_path / "data"
    write_table(root, target)
    loss = {"loss__name": "mse"} if target == "number" else {}
    run = run_small(**TABLE, **loss, dataset__root=str(root))
    dataset = dataset_of(run)
    model = load_run(run)
    with torch.no_grad():
        expected = model.model(dataset.test.inputs)
    # Columns in another order, one more, and no target.
    table = pd.read_csv(root / "test.csv").drop(columns="y")
    table.assign(more=1)[["colour", "more", "a"]].to_csv(tmp_path / "new.csv", index=False)
    for file in root.iterdir():
        file.unlink()  # the data are not needed any more
    assert predict(run, tmp_path / "new.csv", "--out", tmp_path / "p.csv") == 0
    rows = rows_of(tmp_path / "p.csv")
    if target == "number":
        assert [float(row["prediction"]) for row in rows] == pytest.approx(expected[:, 0].tolist(), rel=1e-4)
    else:
        shares = [[float(row[f"p({name})"]) for name in model.classes] for row in rows]
        assert np.array(shares) == pytest.approx(expected.softmax(dim=1).numpy(), rel=1e-4)
        assert set(model.classes) == {"high", "low"}


def test_arrays_are_predicted(run_small: Runner, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    root = tmp_path / "arrays"
    root.mkdir()
    for part in ("train", "test"):
        inputs = generator.normal(50, 3, size=(40, 3, 4))
        np.savez(root / f"{part}.npz", inputs=inputs, targets=np.arange(40) % 2)
    run = run_small(**{**TABLE, "dataset__name": "npz", "model__name": "mlp"}, dataset__root=str(root))
    assert predict(run, root / "test.npz", "--out", tmp_path / "p.csv") == 0
    rows = rows_of(tmp_path / "p.csv")
    hits = [row["prediction"] == str(index % 2) for index, row in enumerate(rows)]
    assert np.mean(hits) == pytest.approx(rows_float(run)["test_accuracy"], abs=1e-6)
    np.savez(tmp_path / "other.npz", inputs=np.zeros((2, 5)))
    assert predict(run, tmp_path / "other.npz") == 2


BATCH_NORM: dict[str, Value] = {
    "model__name": "stage-resnet", "model__blocks": "1-1-1-1", "model__width": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [
        {"method__name": "fedper"},
        {"method__name": "ditto"},
        {"method__name": "fedbn", **BATCH_NORM},
        {"method__name": "fedavg", "batch_norm__policy": "local", **BATCH_NORM},
        {"method__name": "per-fedavg"},
    ],
    ids=lambda keys: "-".join(map(str, keys.values())),
)
def test_the_model_of_a_client_is_the_one_that_was_evaluated(
    run_small: Runner, tmp_path: Path, keys: dict[str, Value]
) -> None:
    run = run_small(rounds=1, clients__evaluate_fraction=1.0, augmentation__name="none", **keys)
    client = int(rows_of(run / "clients.csv")[0]["client_id"])
    weights = tmp_path / "client.safetensors"
    assert predict(run, "--client", client, "--weights", weights) == 0
    own = load_run(run, weights=weights)
    assert any(
        not torch.equal(value, load_run(run).state_dict()[key]) for key, value in own.state_dict().items()
    )
    test = dataset_of(run).test
    counts = pd.read_csv(run / "label_distribution.csv").set_index("client_id").loc[client]
    shares = torch.tensor(counts[[str(digit) for digit in range(10)]].to_numpy(float))
    hits = own.logits(test.inputs).argmax(dim=1) == test.targets
    by_class = torch.stack([hits[test.targets == digit].double().mean() for digit in range(10)])
    [row] = [row for row in rows_of(run / "evaluations.csv") if int(row["client_id"]) == client][-1:]
    reported = row.get("personal_accuracy") or row["accuracy"]
    assert float((shares * by_class).sum() / shares.sum()) == pytest.approx(float(reported), abs=1e-5)


def test_a_kept_round_is_the_model_of_a_run_of_that_length(run_small: Runner, tmp_path: Path) -> None:
    keys: dict[str, Value] = {"method__name": "fedper", "clients__evaluate_fraction": 1.0}
    short = run_small("short", rounds=2, **keys)
    run = run_small("whole", rounds=6, checkpoint__every=100, checkpoint__keep="2", **keys)
    assert same_weights(load_run(run, round=2), load_run(short))
    assert not same_weights(load_run(run), load_run(short))
    assert load_run(run, round=2).card.rounds == 2
    for name, arguments in {"kept": [run, "--round", 2], "ended": [short], "last": [run]}.items():
        assert predict(*arguments, "--client", "all", "--weights", tmp_path / name) == 0
    names = [f"client-{client:06d}.safetensors" for client in range(6)]
    for folder in ("kept", "ended", "last"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    for client, name in enumerate(names):
        # The states of clients of round 2 have stayed, too, although they have trained since.
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "ended" / name).read_bytes()
        assert predict(run, "--client", client, "--weights", tmp_path / "one") == 0
        assert (tmp_path / "one").read_bytes() == (tmp_path / "last" / name).read_bytes()
    assert len({(tmp_path / "last" / name).read_bytes() for name in names}) == 6


def test_options_may_stand_before_between_and_after_the_inputs(run: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(image)
    out = ["--out", tmp_path / "out.csv"]
    texts = []
    for arguments in ([run, *out, image], [run, image, *out], [*out, run, image], [run, image, *out, image]):
        assert predict(*arguments) == 0
        texts.append((tmp_path / "out.csv").read_text().splitlines())
    assert texts[0] == texts[1] == texts[2]
    assert [text.split(",")[:2] for text in texts[3]] == [
        text.split(",")[:2] for text in (*texts[0], texts[0][1])
    ]


def same_weights(one: RunModel, other: RunModel) -> bool:
    entries = other.state_dict()
    return all(torch.equal(value, entries[key]) for key, value in one.state_dict().items())


def test_a_damaged_round_is_refused(run_small: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_small(rounds=3, checkpoint__keep="1")
    path = run / "checkpoints" / "arrays-round-000001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert predict(run, "--round", 1, "--weights", run / "w") == 2
    assert "arrays-round-000001.safetensors is damaged" in capsys.readouterr().err


def test_a_program_loads_back_with_the_same_logits(run: Path, tmp_path: Path) -> None:
    assert predict(run, "--torch-export", tmp_path / "model.pt2") == 0
    extra = {"model.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    images = dataset_of(run).test.inputs[:7]
    assert torch.equal(program(images), load_run(run)(images))
    assert json.loads(extra["model.json"])["classes"] == list("0123456789")


def test_onnx_computes_the_same(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    assert predict(run, "--onnx", tmp_path / "model.onnx") == 0
    assert "onnxruntime's outputs differ" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    images = dataset_of(run).test.inputs[:7]
    [found] = session.run(None, {"inputs": images.numpy()})
    assert found == pytest.approx(load_run(run)(images).detach().numpy(), abs=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list("0123456789")


def test_the_confusion_matrix_adds_up(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analysis(["confusion", str(run), "--out", str(tmp_path / "c.csv")]) == 0
    printed = capsys.readouterr().out
    matrix = pd.read_csv(tmp_path / "c.csv", index_col="class").to_numpy()
    test = dataset_of(run).test
    assert matrix.sum(axis=1).tolist() == torch.bincount(test.targets).tolist()
    accuracy = matrix.trace() / matrix.sum()
    assert accuracy == pytest.approx(rows_float(run)["test_accuracy"], abs=1e-6)
    assert f"{accuracy:.2%}" in printed
    assert confusion_of(load_run(run), run, []).tolist() == matrix.tolist()


def test_what_cannot_be_done_is_one_line(
    run: Path, run_small: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fedrod = run_small("fedrod", rounds=1, method__name="fedrod")
    text = tmp_path / "text.png"
    text.write_text("no image")
    (tmp_path / "empty").mkdir()
    cases: list[tuple[tuple[object, ...], str]] = [
        ((run,), "name inputs"),
        ((run, tmp_path / "none.png"), "there is no"),
        ((run, text), "cannot decode the image"),
        ((run, tmp_path / "empty"), "has no images"),
        ((run, run / "metrics.csv"), "is not an image"),
        ((tmp_path / "empty", text), "has no model.json"),
        ((tmp_path / "nowhere", text), "there is no run directory"),
        ((run, text, "--client", 1), "have no personal models"),
        ((run, text, "--client", 6), "they are 0 to 5"),
        ((run, text, "--client", -1), "they are 0 to 5"),
        ((fedrod, text, "--client", 1), "do not predict with a model alone"),
        ((run, text, "--client", 1, "--set", "rounds=3"), "not rounds"),
        ((run, text, "--top", 0), "at least 1"),
        ((run, text, "--out", tmp_path / "x.txt"), "x.txt: its name must end with .csv"),
        ((run, text, "--round", 7), "has no checkpoint of round 7, only of: 1"),
        ((run, text, "--client", 1, "--round", 7), "has no checkpoint of round 7, only of: 1"),
        ((run, text, "--client", "al"), "--client: it must be a client's id or 'all', not 'al'"),
        ((run, text, "--client", "all", "--weights", tmp_path / "x"), "takes --weights FOLDER alone"),
        ((run, "--client", "all"), "takes --weights FOLDER alone"),
        ((run, "--client", "all", "--weights", text), "--weights: cannot write into"),
        ((run, "--client", "all", "--weights", tmp_path / "x"), "have no personal models"),
        ((run, "--out", tmp_path / "x.csv", "--torch-export", tmp_path / "x"), "no inputs"),
        ((run, "--torch-export", tmp_path / "no" / "x"), "there is no folder"),
    ]
    for arguments, expected in cases:
        capsys.readouterr()
        assert predict(*arguments) == 2, arguments
        [line] = capsys.readouterr().err.splitlines()
        assert expected in line, line


def test_onnx_without_its_packages_names_the_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    capsys.readouterr()
    assert predict(run, "--onnx", tmp_path / "x.onnx") == 2
    assert "pip install onnx onnxscript onnxruntime" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()


def test_three_lines_of_python_in_another_process(run: Path) -> None:
    code = (
        "import torch\nfrom models import load_run\n"
        f"model = load_run({str(run)!r})\n"
        "print(model.predict(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), len(model.classes))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    label = load_run(run).predict(np.zeros((1, 8, 8), dtype=np.uint8))[0]
    assert done.stdout.strip() == f"{[label, label]} 10"


def test_of_a_text_the_prediction_after_its_last_character_counts() -> None:
    logits = torch.zeros(2, 3, 4)
    logits[0, 2, 1] = logits[1, 1, 3] = 9
    card = SimpleNamespace(task="classification")
    model = SimpleNamespace(card=card, classes=("a", "b", "c"), logits=lambda inputs: logits)
    given = GivenInputs(["x", "y"], torch.zeros(2, 4), positions=[1, 3])
    rows = list(Predictions.of(cast("RunModel", model), given).rows())
    assert [row[1] for row in rows] == ["prediction", "c", "b"]


def test_the_global_model_of_a_personalised_run_is_not_taken_for_a_trained_one(
    run_small: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image.png"
    Image.new("L", (8, 8)).save(image)
    in_part = run_small("in-part", method__name="fedper", rounds=1)
    with pytest.warns(UserWarning, match="2 of the 4 arrays stay with the clients, and this"):
        load_run(in_part)
    alone = run_small("alone", method__name="local-only", rounds=1)
    capsys.readouterr()
    assert predict(alone, image) == 2
    assert "keep the whole model, and the server has none: for that of a client" in capsys.readouterr().err
    weights = tmp_path / "client.safetensors"
    assert predict(alone, image, "--client", 3, "--weights", weights) == 0
    load_run(alone, weights=weights)
