"""How the codes choose a strength.

A setting is a pair (λ1, λ2) and a sign. Of all settings of the paper's search grids the
one with the largest A_R + E_F on the codes of all classes wins; one that can win no
more is given up before all codes have been tried on it. With one code a class many
settings tie, and the tie goes to the smallest loss on the codes: cross-entropy of the
remaining ones plus -log(1 - p_c) of those to be forgotten. (The loss of the remaining
codes alone picks the weakest setting that just tips the code over, and its class often
survives.) No image is looked at: choosing on test data, as is often done, would report
how well the test data was fitted.

Example:
    >>> tie = {"remaining_accuracy": 90.0, "forgetting_error": 100.0}
    >>> losses = [{"remaining_loss": v, "forgetting_loss": 0.0} for v in (0.3, 0.1)]
    >>> best_row([tie | loss for loss in losses])["remaining_loss"]
    0.1
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from mnemonic.fisher.chunks import in_chunks
from mnemonic.forgetting.strengths import Sign, Strength, capped
from mnemonic.networks import bytes_of_one, double, evaluation_mode


def try_strengths(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    classes: Sequence[int],
    eta: dict[str, Tensor],
    strengths: Sequence[Strength],
    signs: Sequence[Sign],
) -> list[dict[str, float]]:
    """Score settings on the codes; those that scale all layers alike share a run.

    Args:
        model: Trained with the codes; left as it is.
        inputs: The codes ``[N, C, H, W]``, on the model's device.
        labels: Their classes ``[N]``.
        classes: Forget classes.
        eta: Amplitudes η by parameter name (Eq. 6).
        strengths: Pairs (λ1, λ2).
        signs: +1, -1 or both.

    Returns:
        One row a setting, with ``lambda1``, ``lambda2``, ``sign``,
        ``remaining_accuracy`` and ``forgetting_error`` (percent), ``remaining_loss``
        (mean cross-entropy) and ``forgetting_loss`` (mean of -log(1 - p_c)), in nats
        and infinite where any logit is not finite.
    """
    tried = _Tried(model, inputs, labels, classes, eta)
    scored: dict[tuple, dict[str, float]] = {}
    rows = []
    with evaluation_mode(model), torch.no_grad():
        for strength, sign in itertools.product(strengths, signs):
            key = tried.scales(strength, sign)
            if key not in scored:
                scored[key] = tried.scores(key)
            rows.append(_row(strength, sign, scored[key]))
    return rows


def choose_strength(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    classes: Sequence[int],
    eta: dict[str, Tensor],
    strengths: Sequence[Strength],
    signs: Sequence[Sign],
) -> dict[str, float]:
    """``best_row`` of ``try_strengths``, at a fraction of the cost.

    A setting is given up as soon as it cannot win any more, were all codes that it has
    not seen yet remembered without a loss. The codes to be forgotten come first.

    Args:
        model: As in ``try_strengths``.
        inputs: As in ``try_strengths``.
        labels: As in ``try_strengths``.
        classes: As in ``try_strengths``.
        eta: As in ``try_strengths``.
        strengths: As in ``try_strengths``.
        signs: As in ``try_strengths``.

    Returns:
        The same row; or the error of ``best_row``.
    """
    tried = _Tried(model, inputs, labels, classes, eta)
    first: dict[tuple, tuple[Strength, Sign]] = {}  # of those that scale alike
    for strength, sign in itertools.product(strengths, signs):
        first.setdefault(tried.scales(strength, sign), (strength, sign))
    found: dict[tuple, dict[str, float]] = {}
    best = None
    with evaluation_mode(model), torch.no_grad():
        # A good setting soon spares the others much, and is rarely at an end; with
        # the sign the same, layers that λ1 rules do not change.
        decades = {key: math.log10(s.lambda1) for key, (s, _) in first.items()}
        middle = sum(decades.values()) / max(len(decades), 1)
        order = {key: (abs(decades[key] - middle), key[0] < 0) for key in first}
        for key in sorted(first, key=order.get):
            scores = tried.scores(key, to_reach=best)
            if scores is not None:
                found[key] = _row(*first[key], scores)
                best = max(_rank(scores), best or _rank(scores))
    return best_row([found[key] for key in first if key in found])


def _row(strength: Strength, sign: Sign, scores: dict[str, float]) -> dict[str, float]:
    setting = {"lambda1": strength.lambda1, "lambda2": strength.lambda2}
    return {**setting, "sign": sign, **scores}


class _Tried:
    """Weights to try, in memory that all settings share.

    η over its largest value fits into the weights' own type, or into float32 where that
    is half precision, so that a step is one multiplication and one addition a weight.
    The network that is kept in the end is computed in float64, by ``perturbed``.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        classes: Sequence[int],
        eta: dict[str, Tensor],
    ):
        self.model = model
        self.weights = {n: p.detach() for n, p in model.named_parameters() if n in eta}
        self.largest = {name: float(values.max()) for name, values in eta.items()}
        self.eta = {}
        for n, p in self.weights.items():
            # In float16 the grid's largest step would be infinite.
            wide = torch.promote_types(p.dtype, torch.float32)
            self.eta[n] = (eta[n] / self.largest[n]).to(wide).to(p.device)
        self.buffers = {n: torch.empty_like(p) for n, p in self.weights.items()}
        self.steps: dict[str, float] = {}  # what the buffers hold
        forgets = torch.isin(labels, torch.tensor(list(classes), device=labels.device))
        remaining = (~forgets).nonzero()[:, 0]
        few = -(-len(remaining) // 8)
        chosen = (forgets.nonzero()[:, 0], remaining[:few], remaining[few:])
        self.parts = [(inputs[i], labels[i]) for i in chosen if len(i)]
        self.n_forget, self.n_remaining = len(chosen[0]), len(remaining)
        self.n_bytes = bytes_of_one(model, inputs)

    def scales(self, strength: Strength, sign: Sign) -> tuple[float, ...]:
        """±α_l by layer."""
        return tuple(sign * a for a in capped(self.largest, strength).values())

    def scores(
        self,
        scales: tuple[float, ...],
        to_reach: tuple[float, float] | None = None,
    ) -> dict[str, float] | None:
        """Scores on the codes, or None as soon as they cannot have this rank."""
        weights = self._moved(scales)
        total = torch.zeros(2, 3, dtype=torch.float64)  # to forget, to remember
        for number, (inputs, labels) in enumerate(self.parts):
            sums = partial(_code_sums, self.model, weights, number == 0)
            found = in_chunks(sums, inputs, labels, self.n_bytes)["sums"]
            total[min(number, 1)] += found.cpu()
            scores = self._means(*total.tolist())
            if to_reach is not None and _rank(scores) < to_reach:
                return None
        return scores

    def _moved(self, scales: tuple[float, ...]) -> dict[str, Tensor]:
        """As ``perturbed``, up to rounding; the next call overwrites it."""
        for scale, (name, buffer) in zip(scales, self.buffers.items(), strict=True):
            step = scale * self.largest[name]
            if self.steps.get(name) != step:
                torch.add(self.weights[name], self.eta[name], alpha=step, out=buffer)
                self.steps[name] = step
        return self.buffers

    def _means(self, forget: list[float], remember: list[float]) -> dict[str, float]:
        """Scores where all codes that were not looked at are right, without a loss."""
        kept = self.n_remaining - remember[0]
        scores = {
            "remaining_accuracy": 100 * (kept / self.n_remaining),
            "forgetting_error": 100 * (forget[0] / self.n_forget),
            "remaining_loss": remember[1] / self.n_remaining,
            "forgetting_loss": forget[1] / self.n_forget,
        }
        if forget[2] or remember[2]:  # NaN would pass for forgetting
            scores |= {"remaining_loss": math.inf, "forgetting_loss": math.inf}
        return scores


def forgetting_error(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """How many codes to be forgotten a network misreads, all its logits being finite.

    Args:
        model: A network that forgot.
        inputs: The codes ``[N, C, H, W]``, all to be forgotten.
        labels: Their classes ``[N]``.

    Returns:
        Percent; 0 where any logit is not finite.
    """
    sums = partial(_code_sums, model, {}, True)
    n_bytes = bytes_of_one(model, inputs)
    with evaluation_mode(model), torch.no_grad():
        found = in_chunks(sums, inputs, labels, n_bytes)["sums"]
    misread, _, not_finite = found.tolist()
    return 0.0 if not_finite else 100 * (misread / len(inputs))


def _code_sums(
    model: nn.Module,
    weights: dict[str, Tensor],
    forget: bool,
    inputs: Tensor,
    labels: Tensor,
) -> dict[str, Tensor]:
    """Sums over codes that are all to be forgotten, or all to be remembered.

    Returns:
        Under one name: how many are misread, their loss, and how many logits are not
        finite.
    """
    logits = functional_call(model, weights, (inputs,))
    log_p = logits.log_softmax(1)
    if forget:
        # log(1 - p_c) as the log-probability of all other classes together
        losses = -log_p.scatter(1, labels[:, None], -math.inf).logsumexp(1)
    else:
        losses = functional.nll_loss(log_p, labels, reduction="none")
    sums = (
        (logits.argmax(1) != labels).sum(),
        double(losses).sum(),
        (~logits.isfinite()).sum(),
    )
    return {"sums": torch.stack([double(each) for each in sums])}


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """Pick the largest A_R + E_F on the codes; a tie goes to the smallest loss there.

    Args:
        rows: As ``try_strengths`` gives them.

    Returns:
        One of the rows.

    Raises:
        ValueError: If no setting keeps the network's outputs finite.
    """
    usable = [row for row in rows if math.isfinite(row["remaining_loss"])]
    if not usable:
        raise ValueError(
            "every setting tried makes the network's outputs infinite or NaN; give a "
            "smaller strength, such as Strength(lambda1=1e-6, lambda2=0.1)"
        )
    return max(usable, key=_rank)


def _rank(scores: dict[str, float]) -> tuple[float, float]:
    """The larger the better; below all others where outputs are not finite."""
    if not math.isfinite(scores["remaining_loss"]):
        return -math.inf, -math.inf
    return (
        round(scores["remaining_accuracy"] + scores["forgetting_error"], 9),
        -scores["remaining_loss"] - scores["forgetting_loss"],
    )
