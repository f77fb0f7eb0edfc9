"""Forgetting in one shot: Algorithm 2 of Yamashita et al. 2024.

Around the trained weights w* the loss of the forget classes grows by ½ δᵀFδ (Eq. 2-3),
so it pays to move the weights that these classes are sensitive to and the others are
not. With f_F and f_R the diagonal Fishers on the codes of the forget and of the
remaining classes (Eq. 4), a weight of layer l moves by

    η_i = f_F,i / f_R,i                       (Eq. 6)
    α_l = min(λ1, λ2 / max_i η_l,i)           (Eq. 7)
    w_i = w*_i ± α_l η_i                      (Eq. 5)

and the sign is the one that does better on the codes. Nothing here reads any data.

Example:
    >>> from mnemonic.codes import MnemonicCodes
    >>> from mnemonic.models import build_model
    >>> from mnemonic.data.sources import load_data
    >>> from mnemonic.training import Recipe, train
    >>> data = load_data("mnist-5k")
    >>> codes, model = MnemonicCodes.draw(data), build_model("mlp", data)
    >>> recipe = Recipe(epochs=10, learning_rate=0.05)
    >>> history = train(
    ...     model, data, recipe=recipe, codes=codes, t_mix=0.1, progress=False
    ... )
    >>> result = forget(model, codes, [3], strength=Strength(1e-3, 10.0))
    >>> list(result.layers["layer"])
    ['1.weight', '1.bias', '3.weight', '3.bias']
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import pandas as pd
import torch
from torch import Tensor, nn

from mnemonic.checks import checked_classes, checked_number
from mnemonic.codes import MnemonicCodes, checked_codes
from mnemonic.fisher.diagonal import check_samples, diagonal_fisher
from mnemonic.forgetting.choice import choose_strength, forgetting_error, try_strengths
from mnemonic.forgetting.strengths import GRID, Sign, Strength, perturbed, step_scales
from mnemonic.networks import check_outputs, device_of, double, synchronise

# Below this a squared gradient is taken for 0, so that 0/0 is 1 and nothing is
# infinite. float32 squares lose their digits from 1e-38 on.
FLOOR = 1e-30


@dataclass(frozen=True, eq=False)
class Forgotten:
    """A network that forgot, and the account of how.

    Attributes:
        model: A new network in evaluation mode; the one given is as it was.
        classes: What was forgotten.
        strength: Used, or chosen on the codes.
        sign: +1 or -1 (Eq. 5).
        seconds: Wall clock of Fisher, choice and perturbation, device synchronised.
        forgets_codes: Whether ``model`` misreads every code of the forget classes.
        layers: One row a parameter tensor: ``layer``, ``alpha`` (α_l), the
            ``largest_step`` and ``median_step`` of its weights (absolute),
            ``share_moved`` (of weights whose stored value changed, in [0, 1]) and the
            number of ``weights``.
    """

    model: nn.Module
    classes: tuple[int, ...]
    strength: Strength
    sign: Sign
    seconds: float
    forgets_codes: bool
    layers: pd.DataFrame
    _score_all: Callable[[], list[dict[str, float]]] = field(repr=False, compare=False)

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """One row a setting, as ``try_strengths`` scores them on the codes.

        Columns: ``lambda1``, ``lambda2``, ``sign``, ``remaining_accuracy`` and
        ``forgetting_error`` (percent), ``remaining_loss`` and ``forgetting_loss``
        (nats). Made when it is first asked for: the choice does without most of it.
        """
        return pd.DataFrame(self._score_all())


def forget(
    model: nn.Module,
    codes: MnemonicCodes,
    classes: Sequence[int],
    *,
    strength: Strength | None = None,
    sign: Sign | None = None,
) -> Forgotten:
    """Make a network forget some classes, from its codes alone (Algorithm 2).

    Args:
        model: Trained with ``codes``; left untouched. Weights that do not require a
            gradient, and buffers, do not move.
        codes: One per class, those of the training.
        classes: Indices to forget: at least one, and not all.
        strength: λ1 and λ2. Where missing, chosen on the codes over the paper's
            grids: largest A_R + E_F there, ties broken by the smallest loss
            (see ``mnemonic.forgetting.choice``).
        sign: +1 or -1; where missing, chosen likewise.

    Returns:
        The new network with its report. Its ``forgets_codes`` is false, and a
        ``RuntimeWarning`` is given, where no setting tried forgets on the codes; there
        is a ``RuntimeWarning`` as well where the network did not know them before, or
        knows them so well that their gradients are 0.

    A ``ValueError`` says what of network, codes, classes, strength or sign does not
    fit.
    """
    if sign is not None:
        allowed = "+1, -1, or None to have it chosen"
        sign = checked_number("sign", sign, lambda s: s in (1, -1), allowed)
    codes, classes, logits = _checked(model, codes, classes)
    unknown = [c for c in classes if logits[c].argmax() != c]
    if unknown:
        warnings.warn(
            f"the network does not know the codes of {unknown} in the first place: it "
            "was trained without them, or not long enough, or has forgotten them. "
            "What they choose is not worth much; train with these codes",
            RuntimeWarning,
            stacklevel=2,
        )
    return _forget(model, codes.images, codes.labels, classes, strength, sign)


def _checked(
    model: nn.Module, codes: MnemonicCodes, classes: Sequence[int]
) -> tuple[MnemonicCodes, tuple[int, ...], Tensor]:
    """Codes on the model's device, classes in order, and the logits of the codes."""
    codes = checked_codes(codes).to(device_of(model))
    chosen = checked_classes(classes, len(codes.images))
    return codes, chosen, codes.check_model(model)


def forget_from_data(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    classes: Sequence[int],
    *,
    strength: Strength | None = None,
) -> Forgotten:
    """Take the same step from real samples ("ours-w-data", Fig. 4 of the paper).

    Both Fishers, and the choice of strength and sign, come from the samples where
    ``forget`` takes them from the codes.

    Args:
        model: A classifier, trained with or without codes; left untouched.
        inputs: Samples ``[N, C, H, W]``, as the network is given them.
        labels: Their classes ``[N]``; some to forget, some to remember.
        classes: As in ``forget``.
        strength: As in ``forget``.

    Returns:
        As ``forget`` does; ``forgets_codes`` speaks of these samples.

    Raises:
        ValueError: If the classes, the samples or the network do not fit.
    """
    device = device_of(model)
    check_samples(inputs, labels)
    inputs, labels = inputs.to(device), labels.to(device)
    n_classes = check_outputs(model, inputs[:2]).shape[1]
    classes = checked_classes(classes, n_classes)
    forgets = _belongs(labels, classes)
    if not (forgets.any() and (~forgets).any()):
        raise ValueError(
            f"{int(forgets.sum())} of {len(labels)} samples are of the forget classes "
            f"{list(classes)}; give at least one of them and one of the others"
        )
    return _forget(model, inputs, labels, classes, strength, None)


def _forget(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    classes: tuple[int, ...],
    strength: Strength | None,
    sign: Sign | None,
) -> Forgotten:
    if not (strength is None or isinstance(strength, Strength)):
        allowed = "Strength(lambda1, lambda2), or None to have it chosen"
        raise ValueError(f"strength is {strength!r}; give {allowed}")
    synchronise(inputs.device)
    started = time.perf_counter()
    eta = _amplitude(model, inputs, labels, classes)
    # A copy: candidates may be asked for when the network has been trained on.
    settings = (
        copy.deepcopy(model),
        inputs,
        labels,
        classes,
        eta,
        GRID if strength is None else [strength],
        (1, -1) if sign is None else [sign],
    )
    best = choose_strength(*settings)
    chosen = Strength(best["lambda1"], best["lambda2"])
    scales = step_scales(eta, chosen)
    forgotten = copy.deepcopy(model).eval()
    moved = perturbed(model, eta, scales, best["sign"])
    with torch.no_grad():
        for name, weights in forgotten.named_parameters():
            if name in moved:  # one by one: a state dict would want its versions
                weights.copy_(moved[name])
    synchronise(inputs.device)
    seconds = time.perf_counter() - started
    _warn_of_nothing(eta)
    # Of these very weights: those tried were rounded otherwise.
    forgets = _belongs(labels, classes)
    error = forgetting_error(forgotten, inputs[forgets], labels[forgets])
    if error < 100:
        warnings.warn(
            f"no setting tried forgets {list(classes)} on the codes: the best leaves "
            f"the forgetting error at {error:.0f} %. Train longer "
            "or with a larger t_mix, or forget fewer classes at once",
            RuntimeWarning,
            stacklevel=3,
        )
    return Forgotten(
        model=forgotten,
        classes=classes,
        strength=chosen,
        sign=best["sign"],
        seconds=seconds,
        forgets_codes=error == 100,
        layers=_report(model, forgotten, scales),
        _score_all=partial(try_strengths, *settings),
    )


def amplitude(
    model: nn.Module, codes: MnemonicCodes, classes: Sequence[int]
) -> dict[str, Tensor]:
    """η_i = f_F,i / f_R,i (Eq. 6), both Fishers taken on the codes (Eq. 4).

    Args:
        model: Trained with the codes.
        codes: One per class.
        classes: Forget classes.

    Returns:
        For each trainable parameter a ``float64`` tensor of its shape, without unit;
        on its device, or on the CPU where that is an Apple GPU.

    A ``ValueError`` says what of network, codes or classes does not fit.
    """
    codes, classes, _ = _checked(model, codes, classes)
    eta = _amplitude(model, codes.images, codes.labels, classes)
    _warn_of_nothing(eta)
    return eta


def _amplitude(
    model: nn.Module, inputs: Tensor, labels: Tensor, classes: Sequence[int]
) -> dict[str, Tensor]:
    forgets = _belongs(labels, classes)
    f_forget, f_remain = (
        diagonal_fisher(model, inputs[part], labels[part])
        for part in (forgets, ~forgets)
    )
    # float64: a ratio of squares can leave the range of float32.
    return {
        name: (double(f_forget[name]) + FLOOR) / (double(f_remain[name]) + FLOOR)
        for name in f_forget
    }


def _warn_of_nothing(eta: dict[str, Tensor]) -> None:
    """Warn where both Fishers are 0 for nearly all weights: each ratio is then 1."""
    alike = sum(int(((v - 1).abs() < 1e-3).sum()) for v in eta.values())
    if alike > 0.99 * sum(v.numel() for v in eta.values()):
        warnings.warn(
            "nearly all amplitudes are 1, so the codes say nothing: their loss is 0, "
            "without a gradient. Train for fewer epochs or with more weight decay",
            RuntimeWarning,
            stacklevel=4,
        )


def _belongs(labels: Tensor, classes: Sequence[int]) -> Tensor:
    return torch.isin(labels, torch.tensor(list(classes), device=labels.device))


def _report(
    before: nn.Module, after: nn.Module, alphas: dict[str, float]
) -> pd.DataFrame:
    new = dict(after.named_parameters())
    rows = []
    for name, old in before.named_parameters():
        if name in alphas:
            step = (new[name].detach() - old.detach()).abs().flatten()
            rows.append(
                {
                    "layer": name,
                    "alpha": alphas[name],
                    "largest_step": float(step.max()),
                    "median_step": float(step.median()),
                    "share_moved": float(double(step > 0).mean()),
                    "weights": step.numel(),
                }
            )
    return pd.DataFrame(rows)
