"""Shakespeare's plays, or another text: each role of each play is a client."""

from datasets.shakespeare import load_shakespeare as load

__all__ = ["load"]
