"""The tinyshakespeare file of karpathy/char-rnn: nine plays in a row, without marks between them."""

from bisect import bisect_right
from pathlib import Path

from common.errors import UserError
from datasets.shakespeare.roles import Cast, Role, read_blocks, split_speech

# 1-based number of the line with each play's first speaker, as (line, play, that line).
_PLAYS = (
    (1, "CORIOLANUS", "First Citizen:"),
    (5954, "RICHARD III", "GLOUCESTER:"),
    (11699, "RICHARD II", "KING RICHARD II:"),
    (15601, "ROMEO AND JULIET", "SAMPSON:"),
    (20334, "HENRY VI PART 3", "WARWICK:"),
    (24849, "THE WINTER'S TALE", "ARCHIDAMUS:"),
    (29645, "MEASURE FOR MEASURE", "DUKE VINCENTIO:"),
    (34194, "THE TAMING OF THE SHREW", "SLY:"),
    (38566, "THE TEMPEST", "Master:"),
)
_FIRST_LINES = [line for line, _, _ in _PLAYS]


def read_tinyshakespeare(path: Path) -> list[Role]:
    """Read the roles of the nine plays.

    Raises
    ------
    UserError
        If a play does not start where it does in the original file.
    """
    cast = Cast()
    headers: dict[int, str] = {}
    for block in read_blocks(path):
        number, lines = block
        headers[number] = lines[0].strip()
        play = _PLAYS[bisect_right(_FIRST_LINES, number) - 1][1]
        cast.add_speech(play, *split_speech(path, block))
    for number, play, header in _PLAYS:
        if headers.get(number) != header:
            raise UserError(
                f"{path} is not the original tinyshakespeare: line {number} is not '{header}', where {play}"
                " starts; put texts of your own into one file per play"
            )
    return cast.roles
