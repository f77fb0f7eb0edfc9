"""Audits that tell hiding from erasing, one kind a module, and all in one table.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> model = mn.build_model("mlp", data)
    >>> list(prototype_attack(model, data, [3]))
    ['forget_accuracy', 'remaining_accuracy']
"""

from mnemonic.audits.audit import audit
from mnemonic.audits.diagnoses import diagnoses
from mnemonic.audits.distance import (
    activation_distance,
    distances,
    js,
    over_unlearning,
    zrf,
)
from mnemonic.audits.estimates import Estimate
from mnemonic.audits.exposure import blend, read_codes, reading, replay, trigger
from mnemonic.audits.lira import lira
from mnemonic.audits.membership import (
    class_losses,
    entropy_attack,
    loss_attack,
    matched_losses,
)
from mnemonic.audits.nearest import nearest_neighbours, transfer
from mnemonic.audits.neighbours import neighbour_attack
from mnemonic.audits.probes import linear_probes
from mnemonic.audits.prototypes import prototype_attack
from mnemonic.audits.recovery import pruned, quantised
from mnemonic.audits.relearning import relearn, relearn_remaining
from mnemonic.audits.residual import residual_knowledge
from mnemonic.audits.similarity import cka, feature_similarity
