"""Forgetting in one shot, amplitude and step: Algorithm 2 of Yamashita et al. 2024.

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
    >>> from mnemonic.data.sources import load_data
    >>> from mnemonic.models import build_model
    >>> data = load_data("mnist-5k")
    >>> eta = amplitude(build_model("mlp", data), MnemonicCodes.draw(data), [3])
    >>> list(eta)
    ['1.weight', '1.bias', '3.weight', '3.bias']
"""

import time
import warnings
from collections.abc import Sequence

import pandas as pd
from torch import Tensor, nn

from mnemonic.checks import check_samples, checked_classes
from mnemonic.codes import MnemonicCodes
from mnemonic.data.splits import belongs
from mnemonic.fisher.diagonal import diagonal_fisher
from mnemonic.forgetting.choice import SHALLOW, best_row, try_strengths
from mnemonic.forgetting.on_codes import on_codes
from mnemonic.forgetting.report import Forgotten, layers_of
from mnemonic.forgetting.strengths import GRID, Perturbation, Strength
from mnemonic.networks.asked import check_outputs, device_of
from mnemonic.networks.layers import head_of
from mnemonic.networks.running import double, in_float32, synchronise, undisturbed

# Below this a squared gradient is taken for 0, so that 0/0 is 1 and nothing is
# infinite. float32 squares lose their digits from 1e-38 on.
FLOOR = 1e-30
CACHED = 2**15  # numbers that stay in the cache of a CPU


def forget_from_data(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    classes: Sequence[int],
    *,
    strength: Strength | None = None,
) -> Forgotten:
    """Take the same step from real samples ("ours-w-data", Fig. 4 of the paper).

    Args:
        model: A classifier, trained with or without codes; left untouched.
        inputs: Samples ``[N, C, H, W]``, as the network is given them.
        labels: Their classes ``[N]``; some to forget, some to remember.
        classes: Indices of those to forget.
        strength: As in ``forget``.

    Returns:
        As ``forget`` does; ``forgets_codes`` speaks of these samples.

    A ``ValueError`` says what of classes, samples or network does not fit.
    """
    check_samples(inputs, labels)
    n_classes = check_outputs(model, inputs[:2].to(device_of(model))).shape[1]
    classes = checked_classes(classes, range(n_classes))
    given = checked_sides(model, inputs, labels, classes)
    with undisturbed():
        return by_amplitude(model, *given, classes, strength, None)


def checked_sides(
    model: nn.Module, inputs: Tensor, labels: Tensor, classes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Samples and labels where the network is, if some are to forget and some not."""
    check_samples(inputs, labels)
    n_forget = int(belongs(labels, classes).sum())
    if n_forget in (0, len(labels)):
        raise ValueError(
            f"{n_forget} of {len(labels)} samples are of the forget classes "
            f"{list(classes)}; give at least one of them and one of the others"
        )
    device = device_of(model)
    return inputs.to(device), labels.to(device)


def amplitude(
    model: nn.Module, codes: MnemonicCodes, classes: Sequence[int | str]
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
    return _amplitude(model, *on_codes(model, codes, classes)[1:])


def by_amplitude(
    model, inputs, labels, classes, strength, sign,
    layers="all", judge=None, candidates=False,
) -> Forgotten:  # fmt: skip
    """Fishers, choice and step, on inputs that stand for the classes."""
    if not isinstance(strength, Strength | None):
        raise ValueError(f"strength is {strength!r}; give Strength(lambda1, lambda2)")
    synchronise(inputs.device)
    started = time.perf_counter()
    eta = _amplitude(in_float32(model), inputs, labels, classes)
    step = Perturbation(model, _within(layers, model, inputs, eta))
    grid = GRID if strength is None else [strength]
    signs = (1, -1) if sign is None else [sign]
    settings = *(judge or (inputs, labels)), classes, grid, signs
    best = best_row(rows := try_strengths(step, *settings, give_up=not candidates))
    chosen, sign = Strength(best["lambda1"], best["lambda2"]), best["sign"]
    step.move(step.scaled(chosen, sign))
    moved = step.moved()
    check_outputs(moved, inputs[:1])  # pruned layers and the like derive weights anew
    forgets = best["forgetting_error"] == 100
    # Half precision rounds on the way as well.
    if judge or moved is not step.network:
        part = belongs(labels, classes)
        forgets = (check_outputs(moved, inputs[part]).argmax(1) != labels[part]).all()
    synchronise(inputs.device)
    seconds = time.perf_counter() - started
    if not forgets:
        warnings.warn(
            f"no setting tried forgets {list(classes)} on the codes; train longer or "
            "with a larger t_mix, or forget fewer classes at once",
            RuntimeWarning,
            stacklevel=3,
        )
    elif not (strength or judge or (best["spares"] and best["depth"] >= SHALLOW)):
        warnings.warn(
            f"no setting tried takes the codes of {list(classes)} far below their "
            "rivals and spares the other codes: images of these classes may still be "
            "answered, or other classes suffer, above all in networks with "
            'normalisation. Look at some images; try layers="last", or the rule '
            '"unseen"',
            RuntimeWarning,
            stacklevel=3,
        )
    return Forgotten(
        model=moved,
        classes=classes,
        rule="amplitude",
        settings={"strength": chosen, "sign": sign},
        seconds=seconds,
        forgets_codes=bool(forgets),
        depth=best["depth"],
        layers=layers_of(
            *({n: each[i] for n, each in step.layers.items()} for i in (0, 2)),
            step.alphas,
        ),
        candidates=pd.DataFrame(rows) if candidates else None,
    )


def _within(layers, model, inputs, eta) -> dict[str, Tensor]:
    """The amplitudes of some layers."""
    if layers == "all":
        return eta
    named = [head_of(model, inputs)[0]] if layers == "last" else layers
    found = {
        layer: [n for n in eta if n == layer or n.startswith(f"{layer}.")]
        for layer in ([named] if isinstance(named, str) else named)
    }
    if not found or not all(found.values()):
        raise ValueError(
            f"layers is {layers!r}, with nothing that moves in it; give 'all', 'last', "
            f"or names of layers or parameters, such as {list(eta)[-2:]}"
        )
    moving = {n for names in found.values() for n in names}
    return {n: values for n, values in eta.items() if n in moving}


def _amplitude(model, inputs, labels, classes) -> dict[str, Tensor]:
    forgets = belongs(labels, classes)
    f_forget, f_remain = (  # Eq. 4
        diagonal_fisher(model, inputs[part], labels[part])
        for part in (forgets, ~forgets)
    )
    if max(float(f.amax()) for f in (*f_forget.values(), *f_remain.values())) < FLOOR:
        warnings.warn(
            "the loss of all codes is 0, without a gradient, so all amplitudes are 1 "
            "and say nothing: train for fewer epochs or with more weight decay",
            RuntimeWarning,
            stacklevel=4,
        )
    return {name: _ratio(f, f_remain[name]) for name, f in f_forget.items()}  # Eq. 6


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """In float64: a ratio of squares can leave the range of float32."""
    ratio = double(above).contiguous()
    parts = ratio.view(-1).split(CACHED), below.reshape(-1).split(CACHED)
    for part, other in zip(*parts, strict=True):
        part.add_(FLOOR).div_(double(other).add_(FLOOR))
    return ratio
