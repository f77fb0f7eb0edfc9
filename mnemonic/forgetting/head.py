"""Forgetting at the last layer: its rows are replaced, by a rule of ``rows``."""

import time
from math import inf

import torch
from torch import Tensor, nn

from mnemonic.checks import checked_number
from mnemonic.forgetting.report import Forgotten, layers_of
from mnemonic.forgetting.rows import BETA, from_rows, margins, turned, unseen
from mnemonic.networks.layers import head_of
from mnemonic.networks.running import copied, double, synchronise


def at_the_head(
    model: nn.Module,
    inputs: Tensor,
    classes: tuple[int, ...],
    rule: str,
    strength: float | None,
    are_codes: bool,
) -> Forgotten:
    """Forget by other rows of the last layer, from one pass over the inputs.

    Args:
        model: Ends in a linear layer, or in a 1×1 convolution; left untouched.
        inputs: The codes ``[K, C, H, W]``, or noise.
        classes: Forget classes.
        rule: ``"turn"`` or ``"unseen"``.
        strength: s or β; a right angle, or ``BETA``, by default.
        are_codes: Whether they are; else the rows are the prototypes.

    Returns:
        The new network with its report; s is 0 where nothing was left to turn.

    Raises:
        ValueError: If the strength is none, or there is no such layer, or it is frozen.
    """
    if strength is not None:
        above = "a number above 0, such as 1.0"
        strength = checked_number("strength", strength, lambda s: 0 < s < inf, above)
    synchronise(inputs.device)
    started = time.perf_counter()
    name, _, features, _ = head_of(model, inputs)
    network = copied(model).eval()
    moved = dict(network.named_parameters())
    weight, bias = (moved.get(f"{name}.{part}") for part in ("weight", "bias"))
    if weight is None or not weight.requires_grad:
        raise ValueError(
            f"the weight of {name}, the last layer, is frozen or computed from others, "
            f"and {rule!r} moves nothing else; set requires_grad on it, or take the "
            "rule 'amplitude'"
        )
    forget, features = list(classes), double(features)
    rows = double(weight.detach()).flatten(1)
    b = None if bias is None else double(bias.detach())
    if rule == "unseen":
        others = [n for n in range(len(inputs)) if not (are_codes and n in forget)]
        strength = BETA if strength is None else strength
        rows, b = unseen(rows, b, features[others], forget, strength)
    else:
        prototypes = features if are_codes else from_rows(rows, features)
        won = margins(rows, b, prototypes, forget) > 0
        # A class that does not win its prototype has been turned: twice would undo it.
        known = [c for c, is_won in zip(forget, won.tolist(), strict=True) if is_won]
        if known:
            rows, b, strength = turned(rows, b, prototypes, known, strength)
        else:
            strength = 0.0
    old = {f"{name}.weight": weight.detach().clone()}
    with torch.no_grad():
        weight.copy_(rows.reshape(weight.shape))
        if bias is not None:
            old[f"{name}.bias"] = bias.detach().clone()
            bias.copy_(b)
    synchronise(inputs.device)
    forgets = None
    if are_codes:
        forgets = bool((margins(rows, b, features, forget) < 0).all())
    return Forgotten(
        model=network,
        classes=classes,
        rule=rule,
        settings={"strength": strength},
        seconds=time.perf_counter() - started,
        forgets_codes=forgets,
        depth=None,
        layers=layers_of(old, {n: moved[n].detach() for n in old}, {}),
        candidates=None,
    )
