"""``run_simulation.py --describe``: what there is to choose, and what each thing and key means."""

from runtimes.describe.command import describe
from runtimes.describe.schema import json_schema

__all__ = ["describe", "json_schema"]
