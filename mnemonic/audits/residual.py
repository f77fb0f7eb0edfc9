"""Residual knowledge: is a forgotten image known again a small step away?

Hsu and others (2025) find that forgotten images, moved by little, are recognised by
networks that forgot more often than by a network trained anew. Here training images of
the forget classes are moved within 0.03, in pixel values, and counted where the network
names their class: once at random, and once by three steps of a targeted attack towards
it (``baselines.attack``). The retrained network is the reference; the authors take the
ratio of both. Their definition is of single images; that it is asked of whole classes
is ours.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> list(residual_knowledge(mn.build_model("mlp", data), data, [3]))
    ['random/recognised', 'attacked/recognised']
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnemonic.audits.distance import BOUND, STEPS
from mnemonic.audits.estimates import Estimate, percent_of
from mnemonic.audits.outputs import BATCH_SIZE, check_fits, part_of
from mnemonic.baselines.attack import towards
from mnemonic.checks import checked_number, checked_whole
from mnemonic.data.arrays import ImageData
from mnemonic.networks.asked import check_outputs, device_of
from mnemonic.storage import generator_for

DRAWS = 5
MOST_DRAWS = 10_000  # a slip would never end


def residual_knowledge(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    bound: float = BOUND,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Recognise forget images that were moved a little.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode.
        data: What it was first trained on.
        classes: The forget classes.
        bound: Largest change of a pixel, in values of [0, 1].
        draws: Of random moves; the attack begins from one.
        seed: Of the moves.

    Returns:
        ``"random/recognised"`` and ``"attacked/recognised"``: percent of the training
        images of the forget classes; of the former, an interval over draws, too.

    A ``ValueError`` says what of network, data, classes or numbers does not fit.
    """
    check_fits(model, data)
    images = part_of(data, "train", classes)
    bound = checked_number("bound", bound, lambda b: 0 < b <= 1, "a number in (0, 1]")
    draws = checked_whole("draws", draws, 1, MOST_DRAWS)
    generator = generator_for("residual", seed)

    def recognised(steps: int) -> Tensor:
        how = {"bound": bound, "step": bound / STEPS, "steps": steps}
        found = []
        for inputs, labels in data.batches(
            images, batch_size=BATCH_SIZE, device=device_of(model)
        ):
            moved = towards(model, data, inputs, labels, generator=generator, **how)
            answers = check_outputs(model, moved, data.n_classes).argmax(1)
            found.append((answers == labels).cpu())
        return torch.cat(found)

    random = torch.stack([recognised(0) for _ in range(draws)])
    return {
        "random/recognised": percent_of(random),
        "attacked/recognised": percent_of(recognised(STEPS)),
    }
