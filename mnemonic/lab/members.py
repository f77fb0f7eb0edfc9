"""Members of the family of "unlearning by design": what is kept, and what for.

Three steps each: keep something when a network is trained; drop a class by it at the
request; and undo that, for whoever still holds what was kept.

- class means: K mean features of the training images; the row of the class is turned
  away from its own (``mnemonic.forgetting.rows``). Undone: turned once more.
- codes: for the paper's step, undone by a replay (``mnemonic.audits.exposure``), or for
  a turn, with their features in the place of the means.
- importances: SSD's (``mnemonic.baselines.ssd``), taken once for each class and for
  all, so that the request needs no image. Undone: the weights are divided again.
- updates: ``mnemonic.lab.updates``. Undone: added again.

Example:
    >>> MEMBERS["unseen row"].undo is None  # nothing is kept
    True
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnemonic.audits.exposure import REPLAY_STEPS
from mnemonic.audits.outputs import last_inputs
from mnemonic.audits.relearning import fine_tuned
from mnemonic.audits.rows import levelled
from mnemonic.baselines import Access
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.baselines.ssd import dampened, importance
from mnemonic.forgetting.rows import turned
from mnemonic.lab.updates import recorded
from mnemonic.networks.layers import head_of, last_layer
from mnemonic.networks.running import copied, double
from mnemonic.storage import generator_for

Kept = list[dict[str, Tensor]]
# Of the updates of a class, how much is subtracted.
SHARES = (0.005, 0.01, 0.015, 0.03, 1.0)
# Of these the largest A_R + E_F on validation images, seeds 1000 and 1001 of "quick".
SHARE = 0.015


@dataclass(frozen=True)
class Member:
    """One way to prepare for a request.

    Attributes:
        keep: What is kept: ``(network, access, seed) -> (network, kept)``.
        drop: The network without the class: ``(network, kept, access, settings)``, with
            tuned settings by method, and ``settings["share"]``.
        undo: What whoever holds it makes of that; nothing where nothing is held.
        way: Of training: ``"plain"``, with ``"codes"``, or ``"updates"``, which are
            kept while it trains, so that ``keep`` does that.
        shares: One network each.
    """

    keep: Callable[[nn.Module, Access, int], tuple[nn.Module, Kept]]
    drop: Callable[[nn.Module, Kept, Access, dict], nn.Module]
    undo: Callable[[nn.Module, Kept, Access, dict], nn.Module] | None = None
    way: str = "plain"
    shares: tuple[float, ...] = (1.0,)


def _nothing(network, access, seed):
    return network, []


def _unseen(network, kept, access, settings):
    how = {"rule": "unseen", "input_shape": access.data.input_shape}
    return quietly_forget(network, None, access.classes, **how).model


def _codes(network, access, seed):
    return network, [{"codes": access.codes.images}]


def _by_codes(network, kept, access, settings):
    return quietly_forget(network, access.codes, access.classes).model


def _turned_by_codes(network, kept, access, settings):
    return _turned_by(head_of(network, kept[0]["codes"])[2], network, access)


def _replayed(network, kept, access, settings):
    own = list(access.classes)
    batch = access.codes.images[own], access.codes.labels[own]
    given = levelled(network, access.data, access.classes)
    return fine_tuned(given, itertools.repeat(batch), steps=REPLAY_STEPS)


def _means(network, access, seed):
    data, (_, layer) = access.data, last_layer(network, access.data.input_shape)
    features, labels = last_inputs(network, layer, data, data.train), data.train.labels
    means = [features[labels.cpu() == k].mean(0) for k in range(data.n_classes)]
    return network, [{"means": torch.stack(means)}]


def _turned_by_means(network, kept, access, settings):
    return _turned_by(kept[0]["means"], network, access)


@torch.no_grad()
def _turned_by(prototypes, network, access):
    """As ``forget(..., rule="turn")``, but a second time too, which leads back."""
    network = copied(network)
    _, layer = last_layer(network, access.data.input_shape)
    given = double(layer.weight), double(layer.bias), double(prototypes)
    rows, bias, _ = turned(*given, list(access.classes))
    layer.weight.copy_(rows)
    layer.bias.copy_(bias)
    return network


def _importances(network, access, seed):
    labels = access.data.train.labels
    where = [*(labels == k for k in range(access.n_classes)), labels >= 0]
    each = (access.images("forget", "remaining", where=part) for part in where)
    generator = generator_for("importances", seed)
    return network, [importance(network, images, 64, generator) for images in each]


def _dampened(network, kept, access, settings):
    settings = {"alpha": 10.0, "dampening": 1.0} | settings.get("ssd", {})
    (c,) = access.classes
    return dampened(copied(network), kept[c], kept[-1], **settings)


@torch.no_grad()
def _undampened(network, kept, access, settings):
    network, factors = copied(network), copied(network)
    for w in factors.parameters():
        w.fill_(1)
    factors = _dampened(factors, kept, access, settings)
    for w, factor in zip(network.parameters(), factors.parameters(), strict=True):
        w /= factor.clamp_min(1e-30)
    return network


def _updates(network, access, seed):
    fresh, how = access.fresh(seed), {"seed": seed, "classes": access.classes}
    kept = recorded(fresh, access.data, access.how_to_train(), **how)
    return fresh, [kept[c] for c in access.classes]


@torch.no_grad()
def _moved(network, kept, share):
    network = copied(network)
    for each in kept:
        for name, delta in each.items():
            network.get_parameter(name).add_(delta, alpha=share)
    return network


def _subtracted(network, kept, access, settings):
    return _moved(network, kept, -settings["share"])


def _added(network, kept, access, settings):
    return _moved(network, kept, settings["share"])


MEMBERS = {
    "unseen row": Member(_nothing, _unseen),
    "codes, the paper's step": Member(_codes, _by_codes, _replayed, way="codes"),
    "codes, turned row": Member(
        _codes, _turned_by_codes, _turned_by_codes, way="codes"
    ),
    "class means": Member(_means, _turned_by_means, _turned_by_means),
    "importances": Member(_importances, _dampened, _undampened),
    "updates": Member(_updates, _subtracted, _added, way="updates", shares=SHARES),
}
