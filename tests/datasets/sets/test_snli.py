"""SNLI's files of a JSON object per line."""

import json
from pathlib import Path

import pytest

from common.errors import UserError
from datasets import load_dataset


def write(folder: Path, name: str, *rows: tuple[str, str, str]) -> None:
    folder.mkdir(exist_ok=True)
    keys = ("gold_label", "sentence1", "sentence2")
    lines = [json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False) for row in rows]
    (folder / f"snli_1.0_{name}.jsonl").write_text("\n".join(lines) + "\n")


def test_pairs_are_the_halves_of_a_sequence(tmp_path: Path) -> None:
    folder = tmp_path / "snli_1.0"
    write(
        folder,
        "train",
        ("contradiction", "A cat sleeps.", "a\u2028cat"),  # a character at which splitlines cuts
        ("-", "nobody agrees", "on this"),
        ("entailment", "a", "."),
    )
    write(folder, "dev", ("neutral", "dog", "cat"))
    write(folder, "test", ("entailment", "cat", "a"))
    dataset = load_dataset("snli", root=tmp_path, parameters={"length": 4, "words": 3})
    # a: 4, then of two each "." and cat
    assert dataset.train.inputs.tolist() == [[2, 4, 6, 3, 2, 4, 6, 3], [2, 4, 3, 0, 2, 5, 3, 0]]
    assert dataset.train.targets.tolist() == [2, 0]
    assert dataset.test.inputs.tolist() == [[2, 6, 3, 0, 2, 4, 3, 0]]
    assert dataset.validation is not None
    assert dataset.validation.inputs.tolist() == [[2, 1, 3, 0, 2, 6, 3, 0]]
    assert dataset.class_names == ("entailment", "neutral", "contradiction")
    assert dataset.num_tokens == 7


def test_missing_and_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*snli_1\.0_train\.jsonl: expected .*stanford"):
        load_dataset("snli", root=tmp_path)
    for name in ("train", "dev", "test"):
        write(tmp_path, name, ("neutral", "a", "b"))
    path = tmp_path / "snli_1.0_dev.jsonl"
    for line, message in (
        ("{", r"dev\.jsonl, line 1 is not valid JSON"),
        ("[]", r"dev\.jsonl, line 1: expected sentence1, sentence2 and a gold_label"),
        ('{"gold_label": "maybe", "sentence1": "a", "sentence2": "b"}', r"line 1: expected"),
        ('{"gold_label": [], "sentence1": "a", "sentence2": "b"}', r"line 1: expected"),
        ('{"gold_label": "neutral", "sentence1": "a"}', r"line 1: expected"),
        ('{"gold_label": "-", "sentence1": "a", "sentence2": "b"}', "has no pair with a label"),
    ):
        path.write_text(line)
        with pytest.raises(UserError, match=message):
            load_dataset("snli", root=tmp_path)
