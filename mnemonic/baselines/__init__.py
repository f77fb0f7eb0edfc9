"""Every method to compare with, one file each, behind one signature.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> access = mn.Access(data, classes=[3])
    >>> model = mn.build_model("mlp", data)
    >>> result = METHODS["row-zeroing"](model, access)
    >>> mn.evaluate(result.model, data, [3]).forgetting_error
    100.0
"""

import importlib
import pkgutil

from mnemonic.baselines.access import Access
from mnemonic.baselines.counting import Counts
from mnemonic.baselines.method import METHODS, Method, Unlearned

__all__ = ["METHODS", "Access", "Counts", "Method", "Unlearned"]

for _found in pkgutil.iter_modules(__path__):  # each method enters itself into METHODS
    importlib.import_module(f"{__name__}.{_found.name}")
