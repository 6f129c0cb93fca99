from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.randomness import numpy_generator
from datasets import Dataset, Split, load_dataset
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from datasets.shakespeare.clients import client_text, group_by_client
from datasets.shakespeare.layouts import read_roles
from datasets.shakespeare.vocabulary import LEAF, TFF
from datasets.transforms import make_normalizer
from tests.common.configs import make_config
from tests.datasets.shakespeare.texts import write_plays

# Roles that speak 15, 12, 9 and 2 times about 110 characters: the last is too short for a test part.
ROLES = {"ANNA": 15, "BEN": 12, "CARL": 9, "DORA": 2}


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_plays(folder / "plays", ROLES)
    return folder


@pytest.fixture
def real_root(canonical_root: Path) -> Path:
    if not (canonical_root / "shakespeare" / "tinyshakespeare.txt").is_file():
        pytest.skip("FLOWERBED_TEST_DATA has no shakespeare/tinyshakespeare.txt")
    return canonical_root / "shakespeare"


def load(
    root: Path, num_clients: int | None = None, validation: float = 0.0, **parameters: object
) -> Dataset:
    spelled = {key.replace("_", "-"): value for key, value in parameters.items()}
    return load_dataset(
        "shakespeare",
        root=root,
        num_clients=num_clients,
        validation_fraction=validation,
        parameters=spelled,  # type: ignore[arg-type]
    )


def windows_of(split: Split, client: int) -> list[str]:
    assert split.clients is not None
    held = split.clients == client
    rows = torch.cat([split.inputs[held], split.targets[held, None].to(torch.uint8)], dim=1)
    return ["".join(LEAF.characters[token] for token in row) for row in rows.tolist()]


def test_windows_of_made_up_plays(plays: Path) -> None:
    data = load(plays, num_clients=4)
    assert data.client_names == ("PLAY_0_ANNA", "PLAY_1_ANNA", "PLAY_0_BEN", "PLAY_1_BEN")
    assert data.num_classes == len(data.class_names) == 80
    assert (data.input_shape, data.target_shape, data.is_text) == ((80,), (), True)
    assert data.train.inputs.dtype == torch.uint8
    assert data.train.targets.dtype == torch.int64
    assert "the 4 largest of 6" in data.remarks[0]
    roles, _ = read_roles(plays)
    text = next(client_text(role) for role in roles if (role.play, role.name) == ("PLAY_1", "ANNA"))
    size = len(text) - 80
    num_train = int(0.8 * size)
    assert windows_of(data.train, 1) == [text[i : i + 81] for i in range(num_train)]
    assert windows_of(data.test, 1) == [text[i : i + 81] for i in range(num_train + 79, size)]


def test_a_folder_of_plays_is_recognised_with_or_without_its_name(plays: Path) -> None:
    for first, second in zip(*(read_roles(root)[0] for root in (plays, plays / "plays")), strict=True):
        assert first == second


def test_stride_thins_the_parts_and_not_the_cut(plays: Path) -> None:
    whole, thin, mixed = (
        load(plays, 2, 0.2, **parameters)
        for parameters in ({}, {"stride": 3}, {"stride": 3, "test_stride": 1})
    )
    assert whole.validation is not None
    assert thin.validation is not None
    for client in range(2):
        assert windows_of(thin.train, client) == windows_of(whole.train, client)[::3]
        assert windows_of(thin.test, client) == windows_of(whole.test, client)[::3]
        assert windows_of(thin.validation, client) == windows_of(whole.validation, client)[::3]
    assert torch.equal(mixed.test.inputs, whole.test.inputs)


def test_one_client_per_role_of_all_plays(plays: Path) -> None:
    data = load(plays, client="role")
    assert data.client_names == ("ANNA", "BEN", "CARL")


def test_iid_deals_the_train_windows_and_keeps_the_test_windows(plays: Path) -> None:
    layer = {"dataset.name": "shakespeare", "dataset.root": str(plays), "clients.count": 5}
    natural = make_config(layer, {"partition.name": "natural"})
    iid = make_config(layer, {"partition.name": "iid", "partition.stratified": False})
    data = open_dataset(natural)
    assert open_dataset(iid) is data
    parts = partition_clients(natural, data)
    assert data.train.clients is not None
    for client, indices in enumerate(parts):
        assert (data.train.clients[torch.from_numpy(indices)] == client).all()
    dealt = partition_clients(iid, data)
    sizes = [len(indices) for indices in dealt]
    assert max(sizes) - min(sizes) <= 1
    assert sorted(np.concatenate(dealt)) == list(range(len(data.train)))


def test_leaf_iid_cuts_after_dealing(plays: Path) -> None:
    natural, leaky = load(plays, 5), load(plays, 5, split="leaf-iid")
    assert sorted(leaky.client_names) == list("01234")
    test = {bytes(row) for row in leaky.test.inputs.numpy()}
    neighbours = {bytes(row[1:]) for row in leaky.train.inputs.numpy()}
    assert any(window[:-1] in neighbours for window in test)
    assert len(leaky.train) != len(natural.train)
    again = load(plays, 5, split="leaf-iid")
    assert torch.equal(leaky.train.inputs, again.train.inputs)


def test_sampling_is_keyed_by_the_seed(plays: Path) -> None:
    first, second, other = (
        load_dataset("shakespeare", root=plays, seed=seed, parameters={"sample-fraction": 0.6})
        for seed in (0, 0, 3)
    )
    assert first.client_names == second.client_names
    assert len(first.client_names) < 6
    assert first.client_names != other.client_names
    assert numpy_generator(0, "sampling").random() != numpy_generator(0, "partition").random()


def test_every_character_predicts_after_every_position(plays: Path) -> None:
    data = load(plays, task="every-character", validation=0.25)
    assert (data.num_classes, data.input_shape, data.target_shape) == (90, (80,), (80,))
    assert data.validation is not None
    assert len(data.client_names) == 8  # two speeches are enough here
    known = data.train.targets[:, :-1] >= 0
    assert torch.equal(data.train.inputs[:, 1:][known].long(), data.train.targets[:, :-1][known])
    assert (data.train.inputs[:, 1:][~known] == 0).all()
    # Anna's 15 speeches of 2 pieces: 12 in the train part, of which validation takes the last 3.
    sizes = [int((split.clients == 0).sum()) for split in (data.train, data.validation, data.test)]
    assert sizes == [18, 6, 6]
    first = "".join(TFF.characters[token - 1] for token in data.train.inputs[0, 1:].tolist())
    assert first.startswith("anna speaks of many things")


def test_no_normalisation_of_text(plays: Path) -> None:
    data = load(plays)
    tokens = make_normalizer(data)(data.train.inputs[:2])
    assert not tokens.is_floating_point()
    assert tokens.tolist() == data.train.inputs[:2].tolist()


def test_split_carries_its_clients(plays: Path) -> None:
    part = load(plays).train.subset(np.array([700, 0])).to("cpu")
    assert part.clients is not None
    assert len(part.clients) == 2
    assert part.clients[1] == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"edition": "gutenberg"}, "nothing to read in .* for dataset.edition 'gutenberg'"),
        ({"edition": "folio"}, "dataset.edition must be 'auto', 'plays'"),
        ({"train_fraction": 1.0}, "dataset.train-fraction must be less than 1"),
        ({"stride": 0}, "dataset.stride must be greater than 0"),
        ({"strid": 2}, "no parameter 'dataset.strid'; did you mean 'dataset.stride'"),
        ({"normalizatoin": "none"}, "did you mean 'dataset.normalization'"),
        ({"num_clients": 7}, "clients.count is 7, but only 6 clients"),
        ({"min_samples": 100_000, "num_clients": 1}, "only 0 clients"),
        ({"train_fraction": 0.1, "validation": 0.1}, "validation-fraction 0.1 is too small"),
        (
            {"task": "every-character", "stride": 2},
            "dataset.stride is for dataset.task 'next-character' only",
        ),
        ({"task": "every-character", "split": "leaf-iid"}, "dataset.split is for"),
    ],
)
def test_wrong_parameters_are_one_clear_line(plays: Path, parameters: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(plays, **parameters)
    assert "\n" not in str(caught.value)


def test_image_options_do_not_fit_text(plays: Path) -> None:
    with pytest.raises(UserError, match=r"leave dataset.image-size at 0"):
        load_dataset("shakespeare", root=plays, image_size=8)
    layer = {"dataset.name": "shakespeare", "dataset.root": str(plays), "clients.count": 2}
    with pytest.raises(UserError, match="'crop-flip' is for images, and 'shakespeare' is text"):
        open_dataset(make_config(layer, {"augmentation.name": "crop-flip"}))


def test_image_sets_have_no_text_parameters(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'digits' has no parameter 'dataset.stride'"):
        load_dataset("digits", root=tmp_path, parameters={"stride": 2})


def test_label_skew_needs_one_label_per_sample(plays: Path) -> None:
    layer = {"dataset.name": "shakespeare", "dataset.root": str(plays), "clients.count": 2}
    config = make_config(layer, {"dataset.task": "every-character", "partition.name": "dirichlet"})
    with pytest.raises(UserError, match="use one of 'iid', 'homo'"):
        partition_clients(config, open_dataset(config))


def test_nothing_to_read_says_what_was_looked_for(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"tinyshakespeare.txt or input.txt") as caught:
            load(root)
        assert "100.txt" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_malformed_texts_name_the_line(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("# Title\n\nANNA:\nYes.\n\nno speaker here\nmore\n")
    with pytest.raises(UserError, match=r"mine.txt, line 6: expected 'SPEAKER:'"):
        load(tmp_path)
    (tmp_path / "mine.txt").unlink()
    (tmp_path / "input.txt").write_text("First Citizen:\nBefore we proceed.\n")
    with pytest.raises(UserError, match="line 5954 is not 'GLOUCESTER:', where RICHARD III starts"):
        load(tmp_path)


# What follows are the numbers of the real tinyshakespeare file.


@pytest.mark.parametrize(
    ("train_fraction", "min_samples", "clients", "train", "test"),
    [
        (0.8, 64, 200, 788_734, 181_480),
        (0.8, 1000, 148, 761_103, 178_653),
        (0.8, 2000, 99, 707_063, 168_992),
        (0.9, 0, 163, 867_836, 83_632),
        (0.9, 500, 163, 867_836, 83_632),
        (0.9, 1000, 148, 856_236, 83_520),
    ],
)
def test_tinyshakespeare_after_the_cut(
    real_root: Path, train_fraction: float, min_samples: int, clients: int, train: int, test: int
) -> None:
    data = load(real_root, edition="tinyshakespeare", train_fraction=train_fraction, min_samples=min_samples)
    assert (len(data.client_names), len(data.train), len(data.test)) == (clients, train, test)


@pytest.mark.parametrize(
    ("train_fraction", "train", "test"), [(0.8, 708_628, 169_305), (0.9, 797_203, 80_730)]
)
def test_tinyshakespeare_100_largest_clients(
    real_root: Path, train_fraction: float, train: int, test: int
) -> None:
    data = load(real_root, 100, edition="tinyshakespeare", train_fraction=train_fraction)
    assert (len(data.train), len(data.test)) == (train, test)
    assert data.client_names[0] == "MEASURE_FOR_MEASURE_DUKE_VINCENTIO"


def test_tinyshakespeare_majority_baseline(real_root: Path) -> None:
    roles, _ = read_roles(real_root, "tinyshakespeare")
    texts = sorted((client_text(role) for role in roles), key=len)[-100:]
    assert len(texts[0]) - 80 == 1957
    assert len(texts[-1]) - 80 == 34_015
    targets = "".join(text[80:] for text in texts)
    shares = [round(100 * targets.count(symbol) / len(targets), 2) for symbol in " et"]
    assert (shares[0], round(shares[1], 1), round(shares[2], 1)) == (18.75, 9.1, 6.5)


def test_tinyshakespeare_clients(real_root: Path) -> None:
    roles, _ = read_roles(real_root, "tinyshakespeare")
    assert len(roles) == 358
    assert sum(not role.speeches for role in roles) == 12
    assert sum(sum(map(len, role.speeches)) > 2 for role in roles) == 293
    windows = {
        (role.play, role.name): len(text) - 80 for role in roles if len(text := client_text(role)) > 80
    }
    assert (len(windows), sum(windows.values())) == (286, 1_002_158)
    sizes = np.array(list(windows.values()))
    assert (round(sizes.mean()), np.median(sizes), round(sizes.std())) == (3504, 1041.5, 5694)
    per_play = {
        "CORIOLANUS": (62, 41, 136_766),
        "RICHARD III": (68, 46, 142_886),
        "RICHARD II": (35, 34, 114_416),
        "ROMEO AND JULIET": (35, 31, 122_084),
        "HENRY VI PART 3": (46, 39, 120_066),
        "THE WINTER'S TALE": (35, 32, 125_006),
        "MEASURE FOR MEASURE": (25, 21, 107_730),
        "THE TAMING OF THE SHREW": (38, 29, 102_590),
        "THE TEMPEST": (14, 13, 30_614),
    }
    for play, expected in per_play.items():
        held = [size for (title, _), size in windows.items() if title == play]
        assert (sum(role.play == play for role in roles), len(held), sum(held)) == expected

    text = next(
        client_text(role) for role in roles if (role.play, role.name) == ("ROMEO AND JULIET", "SAMPSON")
    )
    assert (len(text), windows["ROMEO AND JULIET", "SAMPSON"]) == (1181, 1101)
    assert text.startswith("Gregory, o' my word, we'll not carry coals.")
    assert (text[:80].endswith("we'll dr"), text[80]) == (True, "a")

    merged = [
        len(text) - 80 for role in group_by_client(roles, "role") if len(text := client_text(role)) > 80
    ]
    assert (len(merged), sum(merged)) == (248, 1_005_867)


def test_tinyshakespeare_counts_its_one_unknown_character(real_root: Path) -> None:
    text = (real_root / "tinyshakespeare.txt").read_text()
    assert LEAF.encode(text)[1] == 1
    assert text.count("$") == 1
    assert any(
        remark.endswith("count as spaces: 1") for remark in load(real_root, edition="tinyshakespeare").remarks
    )


def test_plays_of_the_data_folder(real_root: Path) -> None:
    if not (real_root / "plays").is_dir():
        pytest.skip("FLOWERBED_TEST_DATA has no shakespeare/plays")
    roles, description = read_roles(real_root)
    assert description.startswith("37 plays")
    assert sum(len(role.speeches) for role in roles) == 31_014
    assert len(roles) == 1386  # 1394 as printed; 8 names appear in two spellings of case
