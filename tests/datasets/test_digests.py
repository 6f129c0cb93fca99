from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets.dataset import Dataset, Split
from datasets.digests import form_digests, sample_digests, split_digests


def make(inputs: torch.Tensor, **other: object) -> Dataset:
    split = Split(inputs, torch.arange(len(inputs)) % 2)
    values = {"class_names": ("a", "b"), "mean": (), "std": (), "kind": "tokens", **other}
    return Dataset("made", split, None, split, 2, **values)  # type: ignore[arg-type]


TOKENS = torch.arange(60).reshape(20, 3)
ALL = np.arange(20)


def test_digests_are_short_and_the_same_for_the_same_data() -> None:
    one, other = make(TOKENS), make(TOKENS.clone())
    assert form_digests(one) == form_digests(other)
    assert sample_digests(one, ALL) == sample_digests(other, ALL)
    assert all(len(digest) == 16 for digest in form_digests(one) + sample_digests(one, ALL))


def test_what_changes_which() -> None:
    made = make(TOKENS)
    classes, inputs = form_digests(made)
    assert form_digests(replace(made, class_names=("b", "a"))) == [
        form_digests(make(TOKENS, class_names=("b", "a")))[0],
        inputs,
    ]
    assert form_digests(replace(made, class_names=("b", "a")))[0] != classes
    assert form_digests(replace(made, vocabulary=("x",)))[1] != inputs
    samples, values = sample_digests(made, ALL)
    assert sample_digests(made, ALL[:19])[0] != samples
    assert sample_digests(made, ALL[::-1].copy())[0] != samples
    relabelled = replace(made, train=Split(TOKENS, made.train.targets.flip(0)))
    assert sample_digests(relabelled, ALL)[0] != samples
    assert sample_digests(relabelled, ALL)[1] == values
    assert sample_digests(make(TOKENS + 1), ALL) != [samples, values]


def test_the_last_bits_of_features_do_not_count() -> None:
    features = TOKENS.float()
    assert sample_digests(make(features), ALL) == sample_digests(
        make(torch.nextafter(features, features + 1)), ALL
    )


def test_standardising_changes_no_digest_and_other_features_do() -> None:
    features = torch.randn(20, 30, generator=torch.Generator().manual_seed(0)).double()
    mean, spread = features.mean(0), features.std(0)
    samples, values = sample_digests(make(features), ALL)
    assert sample_digests(make(((features - mean) / spread).float()), ALL) == [samples, values]
    for other in (features.flip(0), features.flip(1), torch.randn(20, 30), torch.zeros(20, 30)):
        assert sample_digests(make(other), ALL)[1] != values


def test_a_client_without_samples_has_digests() -> None:
    assert len(sample_digests(make(TOKENS), ALL[:0])) == 2
    assert len(sample_digests(make(TOKENS.float()), ALL[:0])) == 2
    assert len(split_digests(Split(TOKENS.float()[:0], torch.zeros(0)))) == 2


def test_one_value_or_target_changes_the_digest_of_a_split() -> None:
    images = torch.randint(
        0, 256, (300, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels, unlike_eight = torch.arange(300) % 3, images[..., :3].contiguous()
    for inputs in (images, unlike_eight, images.long()):
        targets_of, inputs_of = split_digests(Split(inputs, labels))
        assert split_digests(Split(inputs.clone(), labels.clone())) == [targets_of, inputs_of]
        for sample in (1, 299):
            other, relabelled = inputs.clone(), labels.clone()
            other[sample, 0, 2, 1] ^= 1
            relabelled[sample] = 1 - relabelled[sample]
            assert split_digests(Split(other, labels))[1] != inputs_of
            assert split_digests(Split(inputs, relabelled))[0] != targets_of
        for other in (inputs.flip(0), inputs.flip(2), inputs.flip(3), inputs[:, :, 1:]):
            assert split_digests(Split(other, labels)) != [targets_of, inputs_of]


def test_the_last_bits_of_a_splits_numbers_do_not_count() -> None:
    numbers = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    nudged = torch.nextafter(numbers, numbers + 1)
    assert split_digests(Split(numbers, numbers[:, 0])) == split_digests(Split(nudged, nudged[:, 0]))
    assert split_digests(Split(-numbers, numbers[:, 0])) != split_digests(Split(numbers, numbers[:, 0]))


def test_much_data_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, labels = torch.zeros(1000, 8, dtype=torch.uint8), torch.zeros(1000, dtype=torch.int64)
    monkeypatch.setattr("datasets.digests._MAX_BYTES", 8000)
    digests = split_digests(Split(inputs, labels))
    monkeypatch.setattr("datasets.digests._MAX_BYTES", 2000)
    assert split_digests(Split(inputs, labels)) != digests
    changed = inputs.clone()
    changed[4, 0] = 1
    assert split_digests(Split(changed, labels)) != split_digests(Split(inputs, labels))
