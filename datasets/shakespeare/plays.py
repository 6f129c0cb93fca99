"""A folder of plays, one text file each: the format for custom texts.

Blocks are separated by empty lines. A block that starts with ``# `` is a heading and ignored. Every other
block is a speech: a line ``SPEAKER:``, then the lines spoken. The name of the file is that of the play.
"""

from collections.abc import Sequence
from pathlib import Path

from datasets.shakespeare.roles import Cast, Role, read_blocks, split_speech


def read_plays(files: Sequence[Path]) -> list[Role]:
    """Read the roles of all plays.

    Raises
    ------
    UserError
        If a block is neither heading nor speech.
    """
    cast = Cast()
    for path in files:
        play = path.stem.upper()
        for block in read_blocks(path):
            if not block[1][0].startswith("# "):
                cast.add_speech(play, *split_speech(path, block))
    return cast.roles
