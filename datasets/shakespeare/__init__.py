"""Shakespeare: each role of each play is a client."""

from datasets.shakespeare.loading import load_shakespeare

__all__ = ["load_shakespeare"]
