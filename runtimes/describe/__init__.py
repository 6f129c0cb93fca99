"""``run_simulation.py --describe``: lists what can be chosen, and explains each thing and key."""

from runtimes.describe.command import describe
from runtimes.describe.schema import json_schema

__all__ = ["describe", "json_schema"]
