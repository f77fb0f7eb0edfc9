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
    >>> from mnemonic.models import build_model
    >>> from mnemonic.data.sources import load_data
    >>> from mnemonic import Recipe, train
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

import time
import warnings
from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from mnemonic.checks import check_samples, checked_classes, checked_number
from mnemonic.codes import MnemonicCodes, checked_codes
from mnemonic.data.splits import belongs
from mnemonic.fisher.chunks import bytes_of_one, each_chunk
from mnemonic.fisher.diagonal import diagonal_fisher
from mnemonic.forgetting.choice import best_row, try_strengths
from mnemonic.forgetting.report import Forgotten, layers_of
from mnemonic.forgetting.strengths import GRID, Perturbation, Sign, Strength
from mnemonic.networks import check_outputs, device_of, double, synchronise
from mnemonic.running import in_float32, undisturbed

# Below this a squared gradient is taken for 0, so that 0/0 is 1 and nothing is
# infinite. float32 squares lose their digits from 1e-38 on.
FLOOR = 1e-30
CACHED = 2**15  # numbers that stay in the cache of a CPU


def forget(
    model: nn.Module,
    codes: MnemonicCodes,
    classes: Sequence[int],
    *,
    strength: Strength | None = None,
    sign: Sign | None = None,
    candidates: bool = False,
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
        candidates: Score every setting to the end, and give the table of them as well.

    Returns:
        The new network with its report. Its ``forgets_codes`` is false, and a
        ``RuntimeWarning`` is given, where no setting tried forgets on the codes; there
        is a ``RuntimeWarning`` as well where the network did not know them before, or
        knows them so well that their gradients are 0.

    A ``ValueError`` says what of network, codes, classes, strength or sign does not
    fit.
    """
    if sign is not None:
        sign = checked_number("sign", sign, lambda s: s in (1, -1), "+1, -1 or None")
    with undisturbed():
        logits, *given = _on_codes(model, codes, classes)
        if unknown := [c for c in given[-1] if logits[c].argmax() != c]:
            warnings.warn(
                f"the network does not know the codes of {unknown}, so they choose "
                "badly: it was trained without them or too little, or has forgotten",
                RuntimeWarning,
                stacklevel=2,
            )
        return _forget(model, *given, strength, sign, candidates)


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
        classes: As in ``forget``.
        strength: As in ``forget``.

    Returns:
        As ``forget`` does; ``forgets_codes`` speaks of these samples.

    Raises:
        ValueError: If the classes, the samples or the network do not fit.
    """
    check_samples(inputs, labels)
    inputs, labels = (t.to(device_of(model)) for t in (inputs, labels))
    classes = checked_classes(classes, check_outputs(model, inputs[:2]).shape[1])
    n_forget = int(belongs(labels, classes).sum())
    if n_forget in (0, len(labels)):
        raise ValueError(
            f"{n_forget} of {len(labels)} samples are of the forget classes "
            f"{list(classes)}; give at least one of them and one of the others"
        )
    with undisturbed():
        return _forget(model, inputs, labels, classes, strength, None, False)


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
    return _amplitude(model, *_on_codes(model, codes, classes)[1:])


def code_logits(model: nn.Module, codes: MnemonicCodes) -> Tensor:
    """What a network answers to its codes.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        codes: K of them.

    Returns:
        Logits ``[K, K]``, on the network's device.

    Raises:
        ValueError: If shape, type or number of classes differ.
    """
    images = checked_codes(codes).images.to(device_of(model))
    n_bytes = bytes_of_one(model, images, "codes")
    checked = partial(check_outputs, model, what="codes")
    logits = torch.cat([*each_chunk(checked, n_bytes, images)])
    if logits.shape[1] != len(images):
        raise ValueError(
            f"codes of {len(images)} classes do not fit a network with "
            f"{logits.shape[1]} outputs; give the codes that it was trained with"
        )
    return logits


def _on_codes(model, codes, classes) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Logits, images and labels of the codes, and the forget classes in order."""
    logits = code_logits(model, codes)
    there = codes.images.to(logits.device), codes.labels.to(logits.device)
    return logits, *there, checked_classes(classes, len(logits))


def _forget(model, inputs, labels, classes, strength, sign, candidates) -> Forgotten:
    if not isinstance(strength, Strength | None):
        raise ValueError(f"strength is {strength!r}; give Strength(lambda1, lambda2)")
    synchronise(inputs.device)
    started = time.perf_counter()
    eta = _amplitude(in_float32(model), inputs, labels, classes)
    step = Perturbation(model, eta)
    grid = GRID if strength is None else [strength]
    signs = (1, -1) if sign is None else [sign]
    settings = inputs, labels, classes, grid, signs
    best = best_row(rows := try_strengths(step, *settings, give_up=not candidates))
    chosen, sign = Strength(best["lambda1"], best["lambda2"]), best["sign"]
    step.move(step.scaled(chosen, sign))
    moved = step.moved()
    check_outputs(moved, inputs[:1])  # pruned layers and the like derive weights anew
    forgets = best["forgetting_error"] == 100
    if moved is not step.network:  # half precision rounds on the way as well
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
    return Forgotten(
        model=moved,
        classes=classes,
        strength=chosen,
        sign=sign,
        seconds=seconds,
        forgets_codes=bool(forgets),
        layers=layers_of(step),
        candidates=pd.DataFrame(rows) if candidates else None,
    )


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
