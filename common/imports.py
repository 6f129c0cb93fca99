"""Large imports without garbage collection."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing(name: str) -> Iterator[None]:
    """Disable garbage collection in a block that imports a module for the first time in this process.

    Imports create hundreds of thousands of permanent objects. Python's collector would scan them repeatedly
    during the import, which takes a tenth of the time of importing torch, and in each later full collection.
    This disables it meanwhile, and freezes the objects afterwards. If the module is loaded already, nothing
    changes.

    Parameters
    ----------
    name : str
        The module that the block imports.
    """
    if name in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
