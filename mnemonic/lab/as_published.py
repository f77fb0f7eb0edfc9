"""What the paper shows of one network in figures and tables, of a network of ours.

Fig. 5: how far the Fisher of a code, or of a few images, is from that of all images of
the class. Fig. 6-9: A_R and E_F against λ1 and λ2, the other one being the paper's.
Fig. 11: the attack by the loss. Fig. 13: images blended with the code of the class.
Table 6: the mean size of the gradients in each part of the network. Rows are named as
in ``published.csv``, so that the two can stand side by side.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.audits import blend, loss_attack, matched_losses
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.data.splits import first_of_each
from mnemonic.fisher.diagonal import diagonal_fisher
from mnemonic.fisher.errors import compare_fishers
from mnemonic.fisher.squares import trainable
from mnemonic.forgetting.choice import best_row, try_strengths
from mnemonic.forgetting.step import amplitude
from mnemonic.forgetting.strengths import GRID, Perturbation, Strength
from mnemonic.lab.ladder import MNISTS
from mnemonic.lab.profiles import Profile
from mnemonic.lab.scoring import SCORES, two_numbers
from mnemonic.networks.running import evaluation_mode
from mnemonic.storage import generator_for

COUNTS = (1, 5, 10, 100, 1000)  # images of the class
DRAWS = 3
SHARES = (0, 10, 30, 50, 80, 100)  # percent of the code
EACH = 500  # training images of a class, for the gradients
COUNTED = 200  # test images of a class, for Fig. 6-9 and 13
Rows = Iterator[tuple[str, str, str, float]]  # method, setting, metric, value


def fisher_errors(
    model: nn.Module, data: ImageData, codes: MnemonicCodes, c: int
) -> Rows:
    """Of a code, of a few images and of nothing, from all images of the class."""
    of_class = data.train.take((data.train.labels == c).nonzero()[:, 0])
    images, labels = data.inputs(of_class), of_class.labels
    whole = diagonal_fisher(model, images, labels)
    own = codes.labels == c
    code = diagonal_fisher(model, codes.images[own], codes.labels[own])
    estimates = [("code", "code", code)]
    estimates.append(("zeros", "zeros", {n: 0 * f for n, f in whole.items()}))
    generator = generator_for("fig-5", 0)
    for n, _ in itertools.product([n for n in COUNTS if n < len(images)], range(DRAWS)):
        drawn = torch.randperm(len(images), generator=generator)[:n]
        few = diagonal_fisher(model, images[drawn], labels[drawn])
        estimates.append(("data", str(n), few))
    for method, setting, fisher in estimates:
        for metric, value in vars(compare_fishers(fisher, whole)).items():
            if not math.isnan(value):  # zeros have no ranks
                yield method, setting, metric, value


def strengths(
    model: nn.Module, data: ImageData, codes: MnemonicCodes, c: int, at: Strength
) -> Rows:
    """A_R and E_F over the grid of either cap, the sign chosen on the codes."""
    step = Perturbation(model, amplitude(model, codes, [c]))
    for cap in ("lambda1", "lambda2"):
        for value in sorted({vars(pair)[cap] for pair in GRID}):
            pair, network = replace(at, **{cap: value}), None
            tried = try_strengths(
                step, codes.images, codes.labels, [c], [pair], (1, -1)
            )
            with contextlib.suppress(ValueError):  # neither sign keeps outputs finite
                step.move(step.scaled(pair, best_row(tried)["sign"]))
                network = step.moved()
            found = two_numbers(network, data, [c])
            for metric in SCORES:
                yield cap, f"{value:g}", metric, found[metric]


def membership(model: nn.Module, data: ImageData, codes: MnemonicCodes, c: int) -> Rows:
    """AUC of the attack by the loss, before and after the codes' choice."""
    after = quietly_forget(model, codes, [c]).model
    for when, network in {"before": model, "after": after}.items():
        attack = loss_attack(*matched_losses(network, data, [c]))["auc"]
        for metric in ("value", "low", "high"):
            name = "auc" if metric == "value" else f"auc_{metric}"
            yield "loss threshold", when, name, getattr(attack, metric)


def blends(model: nn.Module, data: ImageData, codes: MnemonicCodes, c: int) -> Rows:
    """Accuracy on test images with the code in them, and with one never met."""
    strange = MnemonicCodes.draw(data, seed=1000)
    for method, source in {"learned": codes, "never met": strange}.items():
        for share in SHARES:
            right = says_c = 0
            for images, labels in data.batches(data.test, batch_size=500):
                mixed = blend(images, source.images[c], share / 100)
                with evaluation_mode(model), torch.no_grad():
                    answers = model(mixed).argmax(1)
                right += int((answers == labels).sum())
                says_c += int((answers == c).sum())
            for metric, count in {"accuracy": right, "says_c": says_c}.items():
                yield method, str(share), metric, 100 * count / len(data.test)


def gradients(model: nn.Module, data: ImageData, c: int) -> Rows:
    """Mean absolute gradient of each part, of all, forget or remaining images."""
    some = data.train.take(first_of_each(data.train.labels, EACH))
    weights, sums = trainable(model), {}
    for images, labels in data.batches(some, batch_size=100):
        for goes in (True, False):
            chosen = (labels == c) == goes
            if chosen.any():
                with evaluation_mode(model):
                    loss = functional.cross_entropy(
                        model(images[chosen]), labels[chosen], reduction="sum"
                    )
                found = torch.autograd.grad(loss, [*weights.values()])
                before = sums.get(goes, [0] * len(found))
                sums[goes] = [a + b for a, b in zip(before, found, strict=True)]
    n = {goes: int(((some.labels == c) == goes).sum()) for goes in (True, False)}
    both = [a + b for a, b in zip(sums[True], sums[False], strict=True)]
    for method, total, count in (
        ("whole", both, len(some)),
        ("forget", sums[True], n[True]),
        ("remaining", sums[False], n[False]),
    ):
        parts: dict[str, list[Tensor]] = {}
        for name, g in zip(weights, total, strict=True):
            parts.setdefault(name.split(".")[0], []).append(g.flatten() / count)
        for part, found in parts.items():
            mean = float(torch.cat(found).abs().mean())
            yield method, part, "mean_absolute_gradient", mean


def as_published(seed: int, setup: str, c: int) -> list[dict]:
    """All of it, of one network: a cell of a grid.

    Args:
        seed: Of codes, weights and training.
        setup: Name of a profile.
        c: The forget class.

    Returns:
        Rows with ``artefact``, ``method``, ``setting``, ``metric`` and ``value``.
    """
    profile = Profile.named(setup)
    data = profile.load()
    model, codes = profile.trained(data, seed)
    model.to(memory_format=torch.channels_last)  # convolutions answer 1.3 times as fast
    few = data.test.take(first_of_each(data.test.labels, COUNTED))
    fewer = replace(data, test=few)
    found = {
        "fig-5": fisher_errors(model, data, codes, c),
        "fig-6": strengths(model, fewer, codes, c, profile.strength or MNISTS),
        "fig-11": membership(model, data, codes, c),
        "fig-13": blends(model, fewer, codes, c),
        "table-6": gradients(model, data, c),
    }
    names = ("method", "setting", "metric", "value")
    return [
        {"artefact": artefact, **dict(zip(names, row, strict=True))}
        for artefact, rows in found.items()
        for row in rows
    ]
