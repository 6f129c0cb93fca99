"""Tests, in the tree of the code."""

import os

# Before NumPy is imported: matrices of tests are small, and pytest's processes share the cores, so that
# threads of OpenBLAS would mostly wait for each other, busily.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
