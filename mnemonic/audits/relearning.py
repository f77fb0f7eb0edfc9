"""How little brings a forgotten class back.

- Relearning curve: fine-tuning on k images of every class, then the accuracy on test
  images of the forget class. All classes, in equal numbers: with images of the forget
  class alone, every network would soon answer nothing else.
- Fine-tuning on the remaining classes alone, which an honest user might do.

Before relearning, a bias below those of all remaining classes is raised to the lowest
of them ("levelled"): an attacker sees it at once, and without it 50 small steps cannot
undo what took one assignment. k = 0 is this step alone. A retrained network relearns
too, so its curve is the reference (cf. Golatkar et al. 2020).

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> model = mn.build_model("mlp", data)
    >>> hidden = mn.METHODS["row-zeroing"](model, mn.Access(data, [3])).model
    >>> relearn(hidden, data, [3], samples=5)["forget_accuracy"].value > 0
    True
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.audits.estimates import Estimate, accuracies
from mnemonic.audits.outputs import answered_right, check_fits, halves, told_apart
from mnemonic.audits.rows import levelled, with_fresh_rows
from mnemonic.checks import checked_whole
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.data.splits import Split
from mnemonic.networks.asked import check_loss, device_of
from mnemonic.networks.running import copied, evaluation_mode, in_float32, taken
from mnemonic.storage import generator_for

SAMPLES = (0, 1, 5, 10, 50)  # k of the curve
FRESH = 5  # k for rows drawn anew
MOST_DRAWS = 10_000  # beyond, intervals do not change, and a slip would never end
STEPS = 50
BATCH_SIZE = 32
LEARNING_RATE = 0.01  # that of the package's recipe
STEEPEST = 5.0  # gradients are cut to this norm: forgetting may leave huge logits


def relearn(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    samples: int,
    draws: int = 5,
    fresh: bool = False,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Fine-tune on a few images of every class.

    SGD with momentum 0.9 and batches of 32, 50 steps, all weights, in evaluation mode
    (few images make poor batch statistics). With the same seed, fewer samples are some
    of the more.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; a copy learns.
        data: Its training images are drawn from, its test images are asked.
        classes: The forget classes.
        samples: k, images of each class; 0 for levelling alone.
        draws: How often to draw, and learn anew from the network given.
        fresh: Draw the last layer's rows of the forget classes anew and do not level
            them: what comes back then is in the features, wherever the rows stood. The
            larger of both says what is left.
        seed: Of draws and orders.

    Returns:
        ``"forget_accuracy"`` and ``"remaining_accuracy"`` after relearning: percent of
        test images, mean of the draws, with an interval over images and draws.

    A ``ValueError`` says what of network, data, classes or numbers does not fit.
    """
    every = range(checked_data(data).n_classes)
    start = (with_fresh_rows if fresh else levelled)(model, data, classes)
    samples = checked_whole("samples", samples, 0)
    taught = drawn(data, every, samples, draws, seed)
    networks = _fine_tuned_on(taught, start, data) if samples else [start]
    return accuracies_of(networks, data, classes)


def relearn_remaining(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    samples: int = 50,
    draws: int = 5,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Fine-tune on a few images of each remaining class, and on none to forget.

    As ``relearn``, but no bias is levelled first: whoever does this means no harm.

    Args:
        model: As in ``relearn``.
        data: As in ``relearn``.
        classes: The forget classes.
        samples: k, images of each remaining class.
        draws: As in ``relearn``.
        seed: As in ``relearn``.

    Returns:
        As ``relearn``.

    A ``ValueError`` says what of network, data, classes or numbers does not fit.
    """
    forget, remaining = told_apart(classes, checked_data(data).class_names)
    check_fits(model, data)
    taught = drawn(data, remaining, samples, draws, seed)
    return accuracies_of(_fine_tuned_on(taught, model, data), data, forget)


def _fine_tuned_on(
    drawn: Iterable[tuple[Split, torch.Generator]], start: nn.Module, data: ImageData
) -> Iterator[nn.Module]:
    for part, generator in drawn:
        how = {"device": device_of(start), "generator": generator}
        epochs = (
            data.batches(part, batch_size=BATCH_SIZE, **how) for _ in itertools.count()
        )
        yield fine_tuned(start, itertools.chain.from_iterable(epochs), steps=STEPS)


def fine_tuned(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, steps: int
) -> nn.Module:
    """A copy after some steps of SGD on the cross-entropy, in evaluation mode.

    Args:
        model: Left as it is. Frozen weights move too: an attacker holds them all.
        batches: Inputs ``[B, C, H, W]`` and labels ``[B]`` on the network's device, as
            many as there are steps or more.
        steps: One batch each.

    Returns:
        The copy.
    """
    tuned = in_float32(copied(model))
    weights = [p for p in tuned.parameters() if p.is_floating_point()]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.SGD(weights, lr=LEARNING_RATE, momentum=0.9, fused=True)
    with evaluation_mode(tuned), torch.enable_grad():
        for inputs, labels in itertools.islice(batches, steps):
            loss = functional.cross_entropy(tuned(taken(tuned, inputs)), labels)
            check_loss(tuned, loss)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, STEEPEST)
            optimizer.step()
    return tuned


def accuracies_of(
    networks: Iterable[nn.Module], data: ImageData, classes: Sequence[int]
) -> dict[str, Estimate]:
    """Accuracies on test images, over one or more attacked networks.

    Args:
        networks: Each is asked once.
        data: Of the same classes.
        classes: The forget classes.

    Returns:
        ``"forget_accuracy"`` and ``"remaining_accuracy"`` in percent.
    """
    parts = halves(data, classes)
    right: dict[str, list[Tensor]] = {whose: [] for whose in parts}
    for network in networks:
        for whose, part in parts.items():
            right[whose].append(answered_right(network, data, part))
    return accuracies(right)


def drawn(
    data: ImageData, classes: Sequence[int], samples: int, draws: int, seed: int
) -> Iterator[tuple[Split, torch.Generator]]:
    """Training images of some classes, drawn at random several times.

    Args:
        data: What to draw from.
        classes: To draw from.
        samples: Images of each class.
        draws: How often.
        seed: With the same one, fewer samples are some of the more.

    Yields:
        The images, and random numbers for what comes next.

    Raises:
        ValueError: If there are not so many images, or a number does not fit.
    """
    checked_whole("samples", samples, 1)
    checked_whole("draws", draws, 1, MOST_DRAWS)
    labels = data.train.labels.cpu()
    members = {c: (labels == c).nonzero()[:, 0] for c in classes}
    for c, rows in members.items():
        if len(rows) < samples:
            raise ValueError(
                f"{samples} samples of class {data.class_names[c]}, which has "
                f"{len(rows)} training images; draw fewer"
            )
    for draw in range(draws):
        generator = generator_for(f"relearning {draw}", seed)
        chosen = [
            rows[torch.randperm(len(rows), generator=generator)[:samples]]
            for rows in members.values()
        ]
        indices = torch.cat(chosen).to(data.train.labels.device)
        yield data.train.take(indices), generator
