from pathlib import Path

import pytest

from common.errors import UserError
from datasets import load_dataset
from datasets.shakespeare.clients import client_key, client_text
from datasets.shakespeare.gutenberg import read_gutenberg
from datasets.shakespeare.roles import Role
from datasets.shakespeare.windows import window_starts
from tests.datasets.shakespeare.texts import LEAF_TOY

COMEDY_OF_ERRORS = """\
THE COMEDY OF ERRORS

by William Shakespeare


ACT I. SCENE 1
  indented before anyone speaks
AEGEON. Proceed, Solinus,
and by the doom of death.

End woes.
<<THIS ELECTRONIC VERSION>>
dropped
DUKE. Merchant of Syracuse,
plead no more.
Act II. SCENE 1
dropped, too
LUCIANA. Fie.
1595

THE NEXT PLAY

by William Shakespeare
"""


def read(tmp_path: Path, text: str) -> list[Role]:
    path = tmp_path / "100.txt"
    path.write_text(text)
    return read_gutenberg(path)


def lines_of(roles: list[Role]) -> dict[str, list[str]]:
    return {role.name: [line for speech in role.speeches for line in speech] for role in roles}


def test_roles_of_the_toy_text(tmp_path: Path) -> None:
    roles = read(tmp_path, LEAF_TOY)
    assert {role.play for role in roles} == {"THE SMALL COMEDY"}  # THE OTHER PLAY has one role
    assert lines_of(roles) == {
        "ANNA": [
            "Good morrow, Ben. The  day is fair",
            "and the birds do sing.",
            "He is gone.",
            "A line after a blank line.",
        ],
        "BEN": ["Is it so?", "I had not noticed.", " " * 36 + "Exit BEN", "I return."],
        "FIRST LORD": ["One line only."],
    }


def test_clients_of_the_toy_text(tmp_path: Path) -> None:
    roles = read(tmp_path, LEAF_TOY)
    texts = [client_text(role) for role in roles]
    assert [client_key(role) for role in roles] == [
        "THE_SMALL_COMEDY_ANNA",
        "THE_SMALL_COMEDY_BEN",
        "THE_SMALL_COMEDY_FIRST_LORD",
    ]
    assert texts == [
        "Good morrow, Ben. The day is fair and the birds do sing. He is gone. A line after a blank line. ",
        "Is it so? I had not noticed. Exit BEN I return. ",
        "",  # two lines or fewer
    ]
    assert [len(starts) for starts in window_starts(list(map(len, texts)))] == [16, 0, 0]


def test_the_comedy_of_errors_lacks_indentation(tmp_path: Path) -> None:
    roles = read(tmp_path, "dropped\n\n\n\n\nby William Shakespeare\n" + COMEDY_OF_ERRORS)
    assert lines_of(roles) == {
        "AEGEON": ["Proceed, Solinus,", "and by the doom of death.", "", "End woes."],
        "DUKE": ["Merchant of Syracuse,", "plead no more."],
        "LUCIANA": ["Fie.", "1595", "", "THE NEXT PLAY", ""],  # up to the author's line
    }


def test_the_title_may_stand_seven_lines_above(tmp_path: Path) -> None:
    plays = "\n".join(
        f"{title}{newlines}by William Shakespeare\n  ONE. I.\n  TWO. You."
        for title, newlines in (("A", "\n" * 2), ("B", "\n" * 2), ("C", "\n" * 7), ("D", "\n" * 4))
    )
    roles = read(tmp_path, "dropped\n\n\n" + plays)
    assert [role.play for role in roles] == ["B", "B", "C", "C", "D", "D"]


def test_another_text_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="occurs 0 times") as caught:
        read(tmp_path, "something else\n")
    assert "\n" not in str(caught.value)
    (tmp_path / "100.txt").write_text(LEAF_TOY)
    with pytest.raises(UserError, match="only 0 clients"):  # 16 windows are too few for a test part
        load_dataset("shakespeare", root=tmp_path, num_clients=1)
