"""Large imports without looking for garbage."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing(name: str) -> Iterator[None]:
    """Import a module and all that it needs in the block, for the first time in this process.

    Modules make objects by the hundred thousand, which all stay. Python's collector would look at them again
    and again while they are made, a tenth of the time of importing torch, and at each of its later full
    collections. Here it does not, and leaves them out from then on. If the module is there already, nothing
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
