"""Forgetting in one shot: one call, three rules.

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

import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mnemonic.checks import checked_classes, checked_number
from mnemonic.codes import MnemonicCodes
from mnemonic.forgetting.head import at_the_head
from mnemonic.forgetting.on_codes import on_codes
from mnemonic.forgetting.report import Forgotten
from mnemonic.forgetting.step import by_amplitude, checked_sides
from mnemonic.forgetting.strengths import Sign, Strength
from mnemonic.networks.asked import check_outputs, device_of
from mnemonic.networks.running import undisturbed
from mnemonic.storage import generator_for

Rule = Literal["amplitude", "turn", "unseen"]
RULES = get_args(Rule)


def forget(
    model: nn.Module,
    codes: MnemonicCodes | None,
    classes: Sequence[int | str],
    *,
    rule: Rule = "amplitude",
    strength: Strength | float | None = None,
    sign: Sign | None = None,
    layers: Literal["all", "last"] | Sequence[str] = "all",
    judge: tuple[Tensor, Tensor] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    candidates: bool = False,
) -> Forgotten:
    """Make a network forget some classes, from its codes alone.

    Args:
        model: Trained with ``codes``; left untouched. Weights that do not require a
            gradient, and buffers, do not move.
        codes: One per class, those of the training. ``"turn"`` and ``"unseen"`` do
            without as well: the rows of the last layer stand in for them.
        classes: To forget, by index or name: at least one, and not all.
        rule: ``"amplitude"`` is Algorithm 2 of the paper; ``"turn"`` and ``"unseen"``
            are ours, and move the last layer only (``mnemonic.forgetting.head``).
        strength: Of ``"amplitude"``, λ1 and λ2. Where missing, chosen on the codes over
            the paper's grids: largest A_R + E_F there; of those that tie one that
            takes the code far enough down (see ``mnemonic.forgetting.choice``). Of
            ``"turn"``, s: 1 projects, 2 mirrors; a right angle where missing. Of
            ``"unseen"``, β: length of the new row in that of the others; ½ where
            missing.
        sign: Of ``"amplitude"``, +1 or -1; where missing, chosen likewise.
        layers: Of ``"amplitude"``, which of them move: all, as in the paper; the last,
            which gives the logits; or those named.
        judge: Of ``"amplitude"``, for whoever has them: samples ``[N, C, H, W]`` and
            labels ``[N]``, such as validation images, that choose in place of the
            codes; no warning looks at them.
        input_shape: ``(C, H, W)`` of an input, where codes are ``None``.
        candidates: Of ``"amplitude"``: score every setting to the end, and give the
            table of them as well.

    Returns:
        The new network with its report. Its ``forgets_codes`` is false, and a
        ``RuntimeWarning`` is given, where no setting tried forgets on the codes; there
        is a ``RuntimeWarning`` as well where one does that may not forget images, or
        not spare other classes, and where the network did not know the codes before,
        or knows them so well that their gradients are 0.

    Raises:
        ValueError: If network, codes, classes, rule, strength or sign do not fit.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    of_amplitude = sign is not None or layers not in ("all", "last") or candidates
    of_amplitude |= judge is not None
    if rule != "amplitude" and of_amplitude:
        raise ValueError(
            f"sign, layers, judge and candidates are of rule 'amplitude', and {rule!r} "
            "moves the last layer alone; leave them out, or take that rule"
        )
    if sign is not None:
        sign = checked_number("sign", sign, lambda s: s in (1, -1), "+1, -1 or None")
    with undisturbed():
        if codes is None and rule != "amplitude":
            noise = _noise(model, input_shape)
            n_classes = check_outputs(model, noise[:2]).shape[1]
            asked = checked_classes(classes, range(n_classes))
            return at_the_head(model, noise, asked, rule, strength, are_codes=False)
        logits, *given = on_codes(model, codes, classes)
        images, _, asked = given
        if unknown := [c for c in asked if logits[c].argmax() != c]:
            warnings.warn(
                f"the network does not know the codes of {unknown}, so they choose "
                "badly: it was trained without them or too little, or has forgotten",
                RuntimeWarning,
                stacklevel=2,
            )
        if rule != "amplitude":
            return at_the_head(model, images, asked, rule, strength, are_codes=True)
        if judge is not None:
            if not (isinstance(judge, Sequence) and len(judge) == 2):
                raise ValueError(f"judge is {judge!r}; give (inputs, labels), or None")
            judge = checked_sides(model, *judge, asked)
        return by_amplitude(model, *given, strength, sign, layers, judge, candidates)


def _noise(model, input_shape) -> Tensor:
    """Fifty images of uniform noise, on the model's device."""
    if input_shape is None:
        raise ValueError(
            "without codes, the shape of an input has to be known; give input_shape="
            "(C, H, W), such as data.input_shape"
        )
    draw = {"generator": generator_for("noise", 0), "device": "cpu"}
    noise = torch.rand(50, *input_shape, **draw)
    return noise.to(device_of(model))
