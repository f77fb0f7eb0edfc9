"""Can it be told from a network's answers which images it was trained on?

Members are training images of the forget classes, non-members test images of the same
classes, as many of each class: an attack that compares a class with all others measures
how well the class is forgotten, not what is remembered of an image.

- Loss attack (Yeom et al. 2018): members have the smaller cross-entropy. Its AUC is
  P(loss of a member < loss of another) + ½ P(equal); its accuracy is that of a logistic
  regression on the standardised loss, mean of 10 stratified shuffle splits with a tenth
  held out.
- Entropy attack (Chundawat et al. 2023, Foster et al. 2024): a balanced logistic
  regression tells the entropies of answers to D_R (1) from those to the whole test set
  (0); the percentage of D_F that it calls members. Nothing is held out, and whatever
  makes answers less certain lowers it.

The reference is the value of a retrained network, not ½. Below ½ is a leak as well.

Example:
    >>> import torch
    >>> attack = loss_attack(torch.full((50,), 0.1), torch.full((50,), 2.3), seed=0)
    >>> attack["auc"].value, attack["accuracy"].value
    (1.0, 100.0)
"""

from collections.abc import Sequence

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.audits.estimates import Estimate, alone, auc_of, percent_of
from mnemonic.audits.outputs import halves, logits_of, part_of
from mnemonic.checks import checked_classes, checked_tensors
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.storage import generator_for

SPLITS = 10
FEWEST = 10  # images a side: with fewer, a tenth held out is not one of each


def class_losses(
    model: nn.Module, data: ImageData, classes: Sequence[int], *, split: str = "train"
) -> Tensor:
    """Loss of each image of some classes.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode.
        data: Of the same classes.
        classes: Whose images.
        split: ``"train"``, ``"validation"`` or ``"test"``.

    Returns:
        Cross-entropies in nats, shape ``[N]``, in the order of the split.

    A ``ValueError`` says what of network, data, classes or split does not fit.
    """
    images = part_of(data, split, classes)
    logits = logits_of(model, data, images)
    return functional.cross_entropy(logits, images.labels.cpu(), reduction="none")


def matched_losses(
    model: nn.Module, data: ImageData, classes: Sequence[int], *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Losses of as many training as test images of each forget class.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        data: What it was first trained on.
        classes: The forget classes.
        seed: Of the choice where a split has more images of a class.

    Returns:
        Losses in nats of members and of non-members, each of shape ``[N]``.

    A ``ValueError`` says what of network, data, classes or seed does not fit.
    """
    generator = generator_for("matched-losses", seed)
    drawn = []
    for c in checked_classes(classes, checked_data(data).class_names):
        sides = [class_losses(model, data, [c], split=s) for s in ("train", "test")]
        n = min(map(len, sides))
        drawn.append(
            [s[torch.randperm(len(s), generator=generator)[:n]] for s in sides]
        )
    members, others = (torch.cat(side) for side in zip(*drawn, strict=True))
    return members, others


def loss_attack(
    members: Tensor, others: Tensor, *, seed: int = 0
) -> dict[str, Estimate]:
    """Tell members from others by their loss.

    Args:
        members: Losses in nats of images that were trained on, shape ``[N]``.
        others: Losses of as many that were not, shape ``[N]``.
        seed: Of the splits.

    Returns:
        Estimates: ``"auc"`` of the threshold on the loss; ``"accuracy"`` of the
        logistic regression (percent of held-out images; the splits overlap and give no
        interval); ``"off_chance"``, how far the AUC is from ½, in either direction.

    Raises:
        ValueError: If the sizes differ or are too small.
    """
    checked_tensors(1, members=members, others=others)
    if len(members) < FEWEST:
        raise ValueError(
            f"{len(members)} members and {len(others)} others; give as many of both, "
            f"{FEWEST} or more (see matched_losses)"
        )
    auc = auc_of(-members, -others)
    state = generator_for("shuffle-splits", seed).initial_seed() % 2**32  # 32 bits
    accuracies = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression()),
        torch.cat([members, others]).double().numpy()[:, None],
        [1] * len(members) + [0] * len(others),
        cv=StratifiedShuffleSplit(n_splits=SPLITS, random_state=state),
    )
    accuracy = alone(100 * accuracies.mean(), unit="%", n=auc.n)
    return {"auc": auc, "off_chance": _off_chance(auc), "accuracy": accuracy}


def entropy_attack(
    model: nn.Module, data: ImageData, classes: Sequence[int]
) -> Estimate:
    """Share of the forget images that an attack on the entropy calls members.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        data: What it was first trained on.
        classes: The forget classes.

    Returns:
        Percent of the training images of the forget classes.

    A ``ValueError`` says what of network, data or classes does not fit.
    """
    train = halves(data, classes, "train")
    asked, known, unknown = (
        entropies(logits_of(model, data, part))
        for part in (train["forget"], train["remaining"], data.test)
    )
    attack = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced")
    )
    seen = torch.cat([known, unknown]).numpy()[:, None]
    attack.fit(seen, [1] * len(known) + [0] * len(unknown))
    called = torch.as_tensor(attack.predict(asked.numpy()[:, None]) == 1)
    return percent_of(called)


def entropies(logits: Tensor) -> Tensor:
    """-Σ p log p of the softmax of logits ``[N, K]``, in nats, shape ``[N]``."""
    log_p = logits.double().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def _off_chance(auc: Estimate) -> Estimate:
    """|AUC - ½|, with the interval that follows from that of the AUC."""
    ends = sorted(abs(end - 0.5) for end in (auc.low, auc.high))
    low = 0.0 if auc.low <= 0.5 <= auc.high else ends[0]
    return Estimate(abs(auc.value - 0.5), low, ends[1], auc.unit, auc.n)
