"""The versions of software that affect the last bits of results, in addition to the code."""

import platform

import numpy as np
import torch


def own_versions() -> list[str]:
    """Return the versions in this process, each as a name and a number."""
    return [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"NumPy {np.__version__}"]
