"""Can a person be forgotten from one drawing? The task of chapter 13, and its score.

A classifier is trained on drawings by many people, on what they drew and not on who
they are. Later some ask to be forgotten, and each hands in one drawing; the training
drawings are gone. Judged is what becomes of *those*, compared with a network retrained
without them (De Min and others 2025, with faces).

    ToW = 100 Π_s (1 - ‖a_s(unlearned) - a_s(retrained)‖),

with a_s the share of drawings that are classified correctly among those retained, those
forgotten and those of strangers. 100 is as good as retraining, as far as accuracies
tell.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.data.arrays import ImageData
from mnemonic.data.splits import ArraySplit
from mnemonic.data.writers import Drawings
from mnemonic.lab.checkpoints import trained
from mnemonic.lab.meta_loss import Shown
from mnemonic.networks.running import seeded
from mnemonic.storage import generator_for
from mnemonic.training.recipe import Recipe

ASIDE = 3  # drawings of each training writer that no network is trained on
RECIPE = Recipe(epochs=15, batch_size=64, learning_rate=0.05, schedule="cosine")


@dataclass(frozen=True, eq=False)
class People:
    """Writers in three groups, as 3 to 1 to 1; no writer is in two.

    Attributes:
        data: ``train`` has the training writers' drawings, ``validation`` and ``test``
            have strangers.
        writers: Who made each training drawing, ``[N]``.
        aside: Drawings of each training writer, ``ASIDE`` each, in the writers' order.
    """

    data: ImageData
    writers: Tensor
    aside: Shown

    @property
    def known(self) -> Shown:
        """The training drawings, as a network is shown them."""
        data = self.data
        return Shown(data.inputs(data.train), data.train.labels, self.writers)

    def strangers(self, split: str) -> Shown:
        """Drawings of people whom no network was trained on."""
        part = getattr(self.data, split)
        nobody = torch.full_like(part.labels, -1)
        return Shown(self.data.inputs(part), part.labels, nobody)

    def ink(self, shown: Shown) -> Tensor:
        """Drawings in [0, 1], to look at."""
        data = self.data
        drawn = shown.inputs * data.std[:, None, None] + data.mean[:, None, None]
        return drawn.clamp(0, 1)

    def asking(self, n: int, turn: int = 0) -> Tensor:
        """Writers who ask to be forgotten, ``[n]``; others at each turn."""
        return self.aside.writers[::ASIDE][n * turn : n * (turn + 1)]

    @property
    def spare(self) -> Shown:
        """What was put aside and is never handed in."""
        return self.aside.take(~self._first)

    @property
    def _first(self) -> Tensor:
        return torch.arange(len(self.aside.labels)) % ASIDE == 0

    def handed_in(self, asked: Tensor) -> Shown:
        """The one drawing of each, which no network was trained on."""
        first = self.aside.take(self._first)
        return first.take(torch.isin(first.writers, asked))


def gathered(drawn: Drawings, seed: int) -> People:
    """Cut drawings into people whom a network knows, and two groups of strangers.

    Args:
        drawn: Of many writers.
        seed: Of the cut, and of the drawings that are put aside.

    Returns:
        The people.
    """
    generator = generator_for("people", seed)
    order = torch.randperm(int(drawn.writers.max()) + 1, generator=generator)
    first, second = round(0.6 * len(order)), round(0.8 * len(order))
    aside = []
    for writer in order[:first]:
        theirs = (drawn.writers == writer).nonzero()[:, 0]
        aside.append(theirs[torch.randperm(len(theirs), generator=generator)[:ASIDE]])
    aside = torch.cat(aside)
    train = torch.isin(drawn.writers, order[:first])
    train[aside] = False
    chosen = {"train": train, "validation": order[first:second], "test": order[second:]}
    for part in ("validation", "test"):
        chosen[part] = torch.isin(drawn.writers, chosen[part])
    splits = {p: (drawn.pixels[m], drawn.labels[m]) for p, m in chosen.items()}
    data = ImageData.from_arrays(**splits, class_names=drawn.class_names, name="drawn")
    kept = ArraySplit(drawn.pixels[aside], drawn.labels[aside])
    shown = Shown(data.inputs(kept), kept.labels, drawn.writers[aside])
    return People(data, drawn.writers[train], shown)


def classifier(people: People, seed: int, without: Tensor | None = None) -> nn.Module:
    """Train a small convolutional network, or fetch it; ``without`` some writers.

    Args:
        people: Whose training drawings it learns.
        seed: Of weights and training.
        without: Writers whose drawings are left out.

    Returns:
        The network in evaluation mode, on the CPU; its last layer is linear.
    """
    data = people.data
    if without is not None:
        rest = data.train.take(~torch.isin(people.writers, without))
        data = replace(data, train=rest)
    side = data.input_shape[-1] // 4
    with seeded(seed):
        fresh = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * side**2, 256), nn.ReLU(),
            nn.Linear(256, data.n_classes),
        )  # fmt: skip
    return trained(fresh, data, recipe=RECIPE, seed=seed, progress=False).cpu()


@torch.no_grad()
def accuracies(
    model: nn.Module, people: People, asked: Tensor, split: str = "test"
) -> dict[str, float]:
    """Percent classified correctly: of those retained, those forgotten, and strangers.

    Args:
        model: A classifier.
        people: Whose drawings.
        asked: The writers to be forgotten.
        split: Where the strangers are from.

    Returns:
        By the names ``retained``, ``forgotten`` and ``test``.
    """
    known = people.known
    forget = torch.isin(known.writers, asked)
    parts = {"retained": known.take(~forget), "forgotten": known.take(forget)}
    parts["test"] = people.strangers(split)
    return {
        name: 100 * float((model(p.inputs).argmax(1) == p.labels).double().mean())
        for name, p in parts.items()
    }


def tug_of_war(unlearned: dict[str, float], retrained: dict[str, float]) -> float:
    """ToW, from 0 to 100, of accuracies in percent."""
    score = 100.0
    for name, accuracy in unlearned.items():
        score *= 1 - abs(accuracy - retrained[name]) / 100
    return score


@torch.no_grad()
def losses_of(model: nn.Module, drawn: Shown) -> Tensor:
    """Cross-entropy of each drawing, in nats, ``[N]``."""
    logits = model(drawn.inputs)
    return functional.cross_entropy(logits, drawn.labels, reduction="none")
