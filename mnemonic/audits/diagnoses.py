"""Did an edit only move a threshold? What is asked of the forget class's own output.

- One number: z_c + b for every forget class c. Two: a z_c + b, a of ``SCALES``. Of all
  that cost A_R two points or less, the most images of the class that are right again.
  Where there are more than 20 classes, false answers must also be no more than the
  class has images.
- The attacker who knows that a row was turned: w_c + (a - 1) d_c and one bias, d_c the
  part of w_c outside the span of the remaining rows; found in the edited network alone.
- The attacker who reads the other rows: b - Σ z of the others in place of z_c. The
  gradients of the logits sum to 0, so training hardly moves the sum of all rows, and
  what stood at c is about minus the sum of the others, whatever stands there now.
- AUC of the class's logit, and of its margin z_c - max z of the others: images of the
  forget classes against the remaining ones.

Numbers are chosen on validation images and told on test images; without the former, on
two halves of the latter. Copying another row, turning it at random or deleting the
output meets all of them too (``mnemonic.baselines.controls``): they say whether a class
is out of reach of a threshold, and not that anything is forgotten. Networks that never
saw it stand beside.

Example:
    >>> z = torch.tensor([[2.0, 1.0], [3.0, 0.0], [9.0, 0.0], [9.0, 1.0]])
    >>> asked = z, torch.tensor([1, 1, 0, 0])  # all answered 0
    >>> found = brought_back(asked, asked, [1])
    >>> found.back.value, found.remaining_accuracy.value, found.shift
    (100.0, 100.0, 8.0)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnemonic.audits.estimates import Estimate, auc_of, percent_of
from mnemonic.audits.outputs import last_inputs, last_linear, logits_of, told_apart
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.data.splits import Split, belongs
from mnemonic.storage import generator_for

# As given comes first: of equals it is chosen.
SCALES = (1.0, 0.0, 0.25, -0.25, 0.5, -0.5, -1.0, 2.0, -2.0, 4.0, -4.0)
WITHIN = 2.0  # points of A_R
MANY = 20  # classes, of which false answers count as well

Asked = tuple[Tensor, Tensor]  # logits [N, K] and labels [N]


@dataclass(frozen=True)
class BroughtBack:
    """What an attacker gets who may move one output.

    Attributes:
        back: Images of the forget classes that are answered right, percent.
        remaining_accuracy: A_R then, percent.
        scale: a.
        shift: b; both are NaN, and the class does not come back, where nothing keeps
            A_R.
    """

    back: Estimate
    remaining_accuracy: Estimate
    scale: float
    shift: float


def brought_back(
    chosen_on: Asked,
    told_on: Asked,
    classes: Sequence[int],
    *,
    scales: Sequence[float] = (1.0,),
    along: tuple[Tensor, Tensor] | None = None,
    least: float | None = None,
) -> BroughtBack:
    """Bring a class back by one number (a = 1), or by two.

    Args:
        chosen_on: Logits ``[N, K]`` and labels ``[N]`` that (a, b) is chosen on.
        told_on: Others, that the result is counted on.
        classes: The forget classes F, all moved by the same numbers.
        scales: a to try; of equals the first.
        along: Of both, ``[N, F]``, what a - 1 is times of; the logits themselves by
            default, so that they become a z + b.
        least: A_R to keep on the first, in percent; by default two points less than
            with a = 1 and b = 0.

    Returns:
        The largest share.

    A ``ValueError`` says what of logits or classes does not fit.
    """
    forget, _ = told_apart(classes, range(chosen_on[0].shape[1]))
    pairs = zip((chosen_on, told_on), along or (None, None), strict=True)
    choose, tell = (_Side(*asked, forget, scales, moves) for asked, moves in pairs)
    least = choose.kept - WITHIN if least is None else least
    best, at = -1.0, (0, math.inf)
    for i in range(len(scales)):
        threshold = choose.threshold(i, least)
        if threshold is not None:
            back = float(choose.at(i, threshold)[0].double().mean())
            if back > best:
                best, at = back, (i, threshold)
    back, kept = (percent_of(right) for right in tell.at(*at))
    scale, shift = (scales[at[0]], -at[1]) if best >= 0 else (math.nan, math.nan)
    return BroughtBack(back, kept, scale, shift)


def output_aucs(asked: Asked, classes: Sequence[int]) -> dict[str, Estimate]:
    """How well the forget classes' own logits tell their images from the others.

    Args:
        asked: Logits ``[N, K]`` and labels ``[N]``.
        classes: The forget classes; of several, the largest logit.

    Returns:
        ``"logit_auc"`` and ``"margin_auc"``.
    """
    logits, labels = asked
    forget, remaining = told_apart(classes, range(logits.shape[1]))
    of_class = belongs(labels, forget)
    own = logits[:, forget].double().amax(1)
    margin = own - logits[:, remaining].double().amax(1)
    return {
        f"{name}_auc": auc_of(score[of_class], score[~of_class])
        for name, score in {"logit": own, "margin": margin}.items()
    }


def diagnoses(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    original: nn.Module | float | None = None,
) -> dict[str, Estimate]:
    """All of them, of one network.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        data: Its validation images choose, its test images are asked.
        classes: The forget classes.
        original: The network before, or its A_R on the images that choose: two points
            less than that are to be kept, or two less than the network's own, if that
            is lower.

    Returns:
        ``"one_number"``, ``"two_numbers"`` and ``"other_rows"``, ``"known_rule"`` where
        the network ends in a linear layer, all percent, each with the A_R of then as
        ``"…/remaining_accuracy"``; ``"logit_auc"`` and ``"margin_auc"``. Nothing where
        too few images are there.

    A ``ValueError`` says what of network, data or classes does not fit.
    """
    forget, remaining = told_apart(classes, checked_data(data).class_names)
    parts = _halves(data, forget)
    if any(len(belongs(p.labels, forget).unique()) < 2 for p in parts):
        return {}
    asked = [(logits_of(model, data, p), p.labels.cpu()) for p in parts]
    if isinstance(original, nn.Module):
        before = logits_of(original, data, parts[0]), asked[0][1]
        original = _Side(*before, forget, (1.0,)).kept
    own = _Side(*asked[0], forget, (1.0,)).kept
    kept = own if original is None else min(own, original)
    how = {"classes": forget, "least": kept - WITHIN}
    found = {
        "one_number": brought_back(*asked, **how),
        "two_numbers": brought_back(*asked, **how, scales=SCALES),
    }
    for z, _ in (others := [(logits.clone(), labels) for logits, labels in asked]):
        z[:, forget] = -z[:, remaining].sum(1, keepdim=True)
    found["other_rows"] = brought_back(*others, **how)
    layer = last_linear(model, data)
    if layer is not None:
        rows = layer.weight.detach().double().cpu()
        # What the least squares on the remaining rows leave of a forget row.
        fit = torch.linalg.lstsq(rows[remaining].T, rows[forget].T, driver="gelsd")
        outside = rows[forget].T - rows[remaining].T @ fit.solution  # [D, F]
        seen = [last_inputs(model, layer, data, part).double() for part in parts]
        how["along"] = tuple(features @ outside for features in seen)
        found["known_rule"] = brought_back(*asked, **how, scales=SCALES)
    told = {name: f.back for name, f in found.items()}
    told |= {f"{n}/remaining_accuracy": f.remaining_accuracy for n, f in found.items()}
    return told | output_aucs(asked[1], forget)


class _Side:
    """Images whose answers are the forget classes' where these lead."""

    def __init__(self, logits, labels, forget, scales, along=None):
        others = [c for c in range(logits.shape[1]) if c not in forget]
        own = logits[:, forget].double()
        self.of_class, self.many = belongs(labels, forget), logits.shape[1] > MANY
        top, answers = logits[:, others].double().max(1)
        self.right = torch.tensor(others)[answers] == labels
        self.leads, self.named = [], []
        for a in scales:
            most, which = (own + (a - 1) * (own if along is None else along)).max(1)
            self.leads.append(most - top)
            self.named.append(torch.tensor(forget)[which] == labels)

    @property
    def kept(self) -> float:
        """A_R as given, percent."""
        return 100 * float(self.at(0, 0.0)[1].double().mean())

    def at(self, i: int, threshold: float) -> tuple[Tensor, Tensor]:
        """Which images of the class, and of the others, are answered right."""
        says = self.leads[i] > threshold
        right = (says & self.named[i])[self.of_class]
        return right, (~says & self.right)[~self.of_class]

    def threshold(self, i: int, least: float) -> float | None:
        """The lowest one above which the class may answer, if there is any."""
        lead, others = self.leads[i], ~self.of_class
        steps = lead.sort().values
        right = lead[others & self.right].sort().values
        kept = torch.searchsorted(right, steps, right=True) / others.sum().double()
        allowed = 100 * kept >= least
        if self.many:
            below = torch.searchsorted(lead[others].sort().values, steps, right=True)
            allowed &= others.sum() - below <= self.of_class.sum()
        return float(steps[allowed][0]) if allowed.any() else None


def _halves(data: ImageData, forget: list[int]) -> tuple[Split, Split]:
    """Images to choose on, and images to tell of."""
    if len(belongs(data.validation.labels, forget).unique()) == 2:
        return data.validation, data.test
    order = torch.randperm(len(data.test), generator=generator_for("halves", 0))
    device = data.test.labels.device
    first, second = (o.sort().values.to(device) for o in order.tensor_split(2))
    return data.test.take(first), data.test.take(second)
