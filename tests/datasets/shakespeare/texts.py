"""Small made-up texts in the three layouts."""

from pathlib import Path

LEAF_TOY = """\
FIRST LINE DROPPED
1609

THE SONNETS

by William Shakespeare

  sonnet text here
1603

THE SMALL COMEDY

by William Shakespeare



ACT I. SCENE 1.

                     Enter ANNA and BEN

  ANNA. Good morrow, Ben. The  day is fair
    and the birds do sing.
  BEN. Is it so?
    I had not noticed.
                                        Exit BEN
  Anna. He is gone.

    A line after a blank line.
SCENE 2.
  BEN. I return.
  FIRST LORD. One line only.
1601

THE OTHER PLAY

by William Shakespeare

  CARL. Alone I speak.
    And speak.
    And speak again.
"""


def write_plays(folder: Path, speeches_per_role: dict[str, int], plays: int = 2) -> None:
    """Write plays in which every role speaks n times about 100 characters, in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for play in range(plays):
        blocks = [f"# Play {play}", "# ACT I"]
        for turn in range(max(speeches_per_role.values())):
            for role, speeches in speeches_per_role.items():
                if turn < speeches:
                    words = [f"{role.lower()} speaks", "of many things and of the weather;", f"turn {turn},"]
                    text = " ".join(words * 2)
                    blocks.append(f"{role}:\n{text}\nplay {play}.")
        (folder / f"play_{play}.txt").write_text("\n\n".join(blocks) + "\n")
