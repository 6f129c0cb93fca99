import torch

from common.state_files import decode_state, encode_state, notes_of

NAMES = "gcadbfeh"


def test_sections_and_entries_keep_their_order() -> None:
    """What sums over them ends with the bits of a run that was never interrupted."""
    sections = {name: {key: torch.ones(2) for key in NAMES} for name in ("z", "a", "k")}
    content = encode_state({**sections, "empty": {}}, {"note": "x"})
    decoded = decode_state(content)
    assert list(decoded) == ["z", "a", "k", "empty"]
    assert all(list(section) == list(NAMES) for name, section in decoded.items() if name != "empty")
    assert notes_of(content) == {"note": "x"}
