"""Mnemonic codes in the wrong hands: what do they do to a network that forgot?

- Replay: a few steps of fine-tuning on the code ξ_c alone, or on all codes. Does class
  c come back?
- Trigger: test images of the remaining classes blended with ξ_c, (1 - a) x + a ξ_c. How
  many are answered c (cf. Gu et al. 2017)?
- Reading: the loss of the network on each code. Can whoever holds the codes tell which
  class was forgotten? The AUC is the probability that a forget code has a larger loss
  than a remaining one: 1 tells, ½ does not.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> codes = mn.MnemonicCodes.draw(data, seed=0)
    >>> found = trigger(mn.build_model("mlp", data), data, codes, [3])
    >>> list(found)
    ['0%/answered', '10%/answered', '30%/answered', '50%/answered']
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.audits.estimates import Estimate, alone, auc_of, percent_of
from mnemonic.audits.outputs import inputs_of, part_of, told_apart
from mnemonic.audits.relearning import accuracies_of, fine_tuned
from mnemonic.audits.rows import levelled
from mnemonic.checks import checked_number, checked_tensors, checked_whole
from mnemonic.codes import MnemonicCodes, checked_codes
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.forgetting.on_codes import code_logits
from mnemonic.networks.asked import check_outputs, device_of

REPLAY_STEPS = 10
MOST_STEPS = 100_000  # a slip would never end
SHARES = (0.0, 0.1, 0.3, 0.5)


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network says to each code.

    Attributes:
        answers: Classes, shape ``[K]``.
        confidences: Softmax output of the code's own class, shape ``[K]``.
        losses: Cross-entropy of the code's own class, nats, shape ``[K]``.
    """

    answers: Tensor
    confidences: Tensor
    losses: Tensor


def told(losses: Tensor, classes: Sequence[int]) -> float:
    """Probability that a forget code has a larger loss than a remaining one.

    Args:
        losses: One a code, shape ``[K]``; or how much each has grown.
        classes: The forget classes.

    Returns:
        In [0, 1], ties counted half.
    """
    forget, remaining = told_apart(classes, range(len(losses)))
    return auc_of(losses[forget], losses[remaining]).value


def read_codes(model: nn.Module, codes: MnemonicCodes) -> Reading:
    """Ask a network about each code.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode.
        codes: Of the same classes.

    Returns:
        What it says, on the CPU.

    A ``ValueError`` says what of network or codes does not fit.
    """
    codes = checked_codes(codes).to(device_of(model))
    logits, labels = code_logits(model, codes).double(), codes.labels
    losses = functional.cross_entropy(logits, labels, reduction="none").cpu()
    return Reading(logits.argmax(1).cpu(), (-losses).exp(), losses)


def reading(
    model: nn.Module,
    codes: MnemonicCodes,
    classes: Sequence[int],
    *,
    original: nn.Module | None = None,
) -> dict[str, Estimate]:
    """What the codes tell about a network.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        codes: Of the same classes.
        classes: The forget classes.
        original: The network before, if the holder of the codes has it too.

    Returns:
        ``"told"``, the AUC above, and with an original ``"told_by_change"``, that of
        the growth of the losses; and in percent the mean confidence in the right class,
        ``"<whose>/confidence"``, and the right answers, ``"<whose>/right"``, for the
        codes of forget and of remaining classes. Codes are no sample of anything: there
        are no intervals.

    A ``ValueError`` says what of networks, codes or classes does not fit.
    """
    k = len(checked_codes(codes).images)
    forget, remaining = told_apart(classes, codes.class_names)
    said = read_codes(model, codes)
    found = {"told": alone(told(said.losses, forget), unit="1", n=k)}
    if original is not None:
        growth = said.losses - read_codes(original, codes).losses
        found["told_by_change"] = alone(told(growth, forget), unit="1", n=k)
    right = said.answers == torch.arange(k)
    for whose, chosen in (("forget", forget), ("remaining", remaining)):
        for name, values in (("confidence", said.confidences), ("right", right)):
            percent = 100 * values[chosen].double().mean()
            found[f"{whose}/{name}"] = alone(percent, unit="%", n=len(chosen))
    return found


def replay(
    model: nn.Module,
    data: ImageData,
    codes: MnemonicCodes,
    classes: Sequence[int],
    *,
    steps: int = REPLAY_STEPS,
) -> dict[str, Estimate]:
    """Fine-tune on codes, as relearning does on images, and ask about test images.

    The bias of a forget class is levelled first (see ``relearning``). Read the
    remaining accuracy too: on ξ_c alone, a network may just learn to answer c.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; a copy is fine-tuned.
        data: Its test images are asked.
        codes: Of the same classes.
        classes: The forget classes.
        steps: Full batches of codes.

    Returns:
        ``"own/…"`` after replay of the codes of the forget classes, ``"all/…"`` after
        that of all codes; each ``"…/forget_accuracy"`` and ``"…/remaining_accuracy"``,
        percent.

    A ``ValueError`` says what of network, data, codes, classes or numbers does not fit.
    """
    forget, _ = told_apart(classes, checked_data(data).class_names)
    steps = checked_whole("steps", steps, 1, MOST_STEPS)
    codes = _fitting(codes, data, model)
    start = levelled(model, data, forget)
    found = {}
    for which, chosen in (("own", forget), ("all", codes.labels.tolist())):
        batch = (codes.images[chosen], codes.labels[chosen])
        after = fine_tuned(start, itertools.repeat(batch), steps=steps)
        for name, accuracy in accuracies_of([after], data, forget).items():
            found[f"{which}/{name}"] = accuracy
    return found


def trigger(
    model: nn.Module,
    data: ImageData,
    codes: MnemonicCodes,
    classes: Sequence[int],
    *,
    shares: Sequence[float] = SHARES,
) -> dict[str, Estimate]:
    """Blend test images of the remaining classes with the code of a forget class.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode.
        data: Its test images are blended.
        codes: Of the same classes.
        classes: The forget classes; with several, each code in turn.
        shares: a, in [0, 1], of the code; 0 is how often c is answered anyway.

    Returns:
        ``"<a>%/answered"``: percent of the blended images that are answered with the
        class of the code.

    Raises:
        ValueError: If the shares are no list.
    """
    forget, _ = told_apart(classes, checked_data(data).class_names)
    codes = _fitting(codes, data, model)
    images = part_of(data, "test", forget, others=True)
    if isinstance(shares, str) or not isinstance(shares, Sequence):
        raise ValueError(f"shares are {shares!r}; give a list of numbers in [0, 1]")

    def answered(c: int, share: float) -> Tensor:
        given = inputs_of(model, data, images)
        mixed = (blend(inputs, codes.images[c], share) for inputs in given)
        logits = [check_outputs(model, batch, data.n_classes) for batch in mixed]
        return torch.cat(logits).argmax(1).cpu() == c

    found = {}
    for share in shares:
        # A mean over codes first: the images are the sample.
        rates = torch.stack([answered(c, share) for c in forget]).double().mean(0)
        found[f"{100 * share:g}%/answered"] = percent_of(rates)
    return found


def blend(inputs: Tensor, code: Tensor, share: float) -> Tensor:
    """Inputs with a share of a code in them: (1 - a) x + a ξ.

    Args:
        inputs: Normalised images, shape ``[N, C, H, W]``.
        code: As the network is given it, shape ``[C, H, W]``.
        share: a, in [0, 1].

    Returns:
        A new tensor ``[N, C, H, W]``.

    Raises:
        ValueError: If their shapes do not fit.
    """
    share = checked_number("share", share, lambda a: 0 <= a <= 1, "a share in [0, 1]")
    checked_tensors(4, inputs=inputs)
    checked_tensors(3, code=code)
    if code.shape != inputs.shape[1:]:
        raise ValueError(
            f"a code of shape {list(code.shape)} does not fit inputs of shape "
            f"{list(inputs.shape)}; give [C, H, W] and [N, C, H, W]"
        )
    return (1 - share) * inputs + share * code


def _fitting(codes: MnemonicCodes, data: ImageData, model: nn.Module) -> MnemonicCodes:
    checked_codes(codes).check(data)
    return codes.to(device_of(model))
