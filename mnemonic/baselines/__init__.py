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

from mnemonic.baselines import (  # noqa: F401 - each enters itself into METHODS
    bad_teacher,
    boundary,
    controls,
    delete,
    erm_ktp,
    fastmu,
    finetune,
    l1_sparse,
    lipschitz,
    lwsf,
    mnemonic_code,
    neggrad,
    ntk,
    random_label,
    retrain,
    salun,
    scrub,
    sfdn,
    sisa,
    ssd,
    svd,
    zero_shot,
)
from mnemonic.baselines.access import Access
from mnemonic.baselines.counting import Counts
from mnemonic.baselines.method import METHODS, Method, Unlearned

__all__ = ["METHODS", "Access", "Counts", "Method", "Unlearned"]
