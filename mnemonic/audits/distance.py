"""How far a network's answers are from those of a network that never knew the class.

With the softmax outputs p and q of two networks on one image,

- JS = ½ KL(p || m) + ½ KL(q || m), m = ½ (p + q): symmetric, at most ln 2 = 0.693
  (Lin 1991);
- KL = Σ q log(q / p), with q of the reference;
- activation distance = ||p - q||₂ (Foster et al. 2024; Golatkar et al. 2020 have l1);
- ZRF = 1 - mean JS to a network with fresh random weights (Chundawat et al. 2023): near
  1 for answers as even as those of a network that knows nothing, which is not how a
  retrained network answers;
- OU@ε, over-unlearning (Ha et al. 2025): images within ε of D_F that lie towards the
  nearest other class of the original network, and there the mean JS of its answers,
  with the forget classes set to 0 and the rest renormalised, to those of the forgotten
  network. How much was lost next to the forget class?

All logarithms are natural, so that JS and KL are in nats.

Example:
    >>> import torch
    >>> certain = torch.tensor([[1e4] + 9 * [0.0]])  # logits of a one-hot answer
    >>> even = torch.zeros(1, 10)
    >>> round(js(certain, even).item(), 4), round(zrf(certain, even).value, 4)
    (0.5256, 0.4744)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnemonic.audits.estimates import Estimate, mean_of
from mnemonic.audits.outputs import inputs_of, logits_of, part_of, quarters, told_apart
from mnemonic.baselines.attack import towards
from mnemonic.baselines.distances import kl
from mnemonic.checks import checked_tensors
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.networks.asked import check_outputs, device_of
from mnemonic.networks.running import copied, seeded
from mnemonic.storage import generator_for

BOUND, STEP, STEPS = 0.03, 0.01, 3  # of OU@ε, in pixel values of [0, 1]


def js(one: Tensor, two: Tensor) -> Tensor:
    """Jensen-Shannon divergence of softmax outputs, an image at a time.

    Args:
        one: Logits of shape ``[N, K]``; ``-inf`` where the output is 0.
        two: Logits of shape ``[N, K]``.

    Returns:
        Nats, shape ``[N]``, from 0 to ln 2.

    A ``ValueError`` says what of the logits does not fit.
    """
    checked_tensors(2, one=one, two=two)
    one, two = (logits.double().log_softmax(1) for logits in (one, two))
    middle = torch.logaddexp(one, two) - math.log(2)
    return (0.5 * kl(one, middle) + 0.5 * kl(two, middle)).clamp(0, math.log(2))


def activation_distance(one: Tensor, two: Tensor) -> Tensor:
    """l2 distance of softmax outputs, an image at a time.

    Args:
        one: Logits of shape ``[N, K]``.
        two: Logits of shape ``[N, K]``.

    Returns:
        A number without unit in [0, √2], shape ``[N]``.

    A ``ValueError`` says what of the logits does not fit.
    """
    checked_tensors(2, one=one, two=two)
    return (one.double().softmax(1) - two.double().softmax(1)).norm(dim=1)


def zrf(logits: Tensor, random_logits: Tensor) -> Estimate:
    """Zero-retrain forgetting: 1 - mean JS to the answers of a random network.

    Args:
        logits: Of the audited network, shape ``[N, K]``.
        random_logits: Of one with fresh weights, on the same images.

    Returns:
        A number in [1 - ln 2, 1].

    A ``ValueError`` says what of the logits does not fit.
    """
    return mean_of(1 - js(logits, random_logits), unit="1")


def distances(
    model: nn.Module,
    references: Sequence[nn.Module],
    data: ImageData,
    classes: Sequence[int],
) -> dict[str, Estimate]:
    """JS, KL and activation distance on forget and remaining, train and test images.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        references: Networks that were trained without the forget classes.
        data: All classes.
        classes: The forget classes.

    Returns:
        ``"<whose>-<split>/js"``, ``".../kl"`` and ``".../activation_distance"``, means
        over images and references, both samples for the intervals.

    A ``ValueError`` says what of references, data or classes does not fit.
    """
    checked_references(references)
    measures = {
        "js": (js, "nats"),
        "kl": (lambda p, q: kl(q.double(), p.double()), "nats"),
        "activation_distance": (activation_distance, "1"),
    }
    found = {}
    for name, part in quarters(data, classes).items():
        p = logits_of(model, data, part)
        qs = [logits_of(reference, data, part) for reference in references]
        for measure, (between, unit) in measures.items():
            each = torch.stack([between(p, q) for q in qs])
            found[f"{name}/{measure}"] = mean_of(each, unit=unit)
    return found


def checked_references(references: object) -> list[nn.Module]:
    """As a list, or a ``ValueError`` where it is none of networks."""
    given = list(references) if isinstance(references, Sequence) else []
    if not (given and all(isinstance(network, nn.Module) for network in given)):
        raise ValueError(
            f"references are {references!r}; give a list of at least one network that "
            "was trained without the forget classes, such as [network]"
        )
    return given


def fresh_weights(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """A copy with random weights, as its layers draw them.

    Args:
        model: Left as it is.
        seed: Of the weights.

    Returns:
        The copy. Parameters of a module that cannot reset itself, such as the class
        token of a transformer, are drawn from N(0, 0.02²).
    """
    fresh = copied(model)
    with seeded(seed), torch.no_grad():
        for module in fresh.modules():
            if callable(getattr(module, "reset_parameters", None)):
                module.reset_parameters()
            else:
                for parameter in module.parameters(recurse=False):
                    parameter.normal_(0, 0.02)
    return fresh


def over_unlearning(
    model: nn.Module,
    original: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    seed: int = 0,
) -> Estimate:
    """OU@0.03: what forgetting did to answers next to the forget classes.

    Args:
        model: The network that forgot.
        original: The network before.
        data: Its training images of the forget classes are perturbed.
        classes: The forget classes.
        seed: Of the random starts.

    Returns:
        A mean JS in nats.

    A ``ValueError`` says what of networks, data, classes or seed does not fit.
    """
    forget, _ = told_apart(classes, checked_data(data).class_names)
    part = part_of(data, "train", forget)
    generator = generator_for("over-unlearning", seed)
    parts, device = [], device_of(model)
    for inputs in inputs_of(original, data, part):
        near = towards_runner_up(original, data, inputs, forget, generator)
        before = check_outputs(original, near, data.n_classes).cpu()
        after = check_outputs(model, near.to(device), data.n_classes).cpu()
        before[:, forget] = -torch.inf  # 0 after the softmax, and renormalised
        parts.append(js(before, after))
    return mean_of(torch.cat(parts), unit="nats")


def towards_runner_up(
    model: nn.Module,
    data: ImageData,
    inputs: Tensor,
    classes: Sequence[int],
    generator: torch.Generator,
) -> Tensor:
    """Images moved towards the network's likeliest class that is not to be forgotten.

    The targeted attack of ``baselines.attack``: three steps of 0.01 from a random start
    within 0.03, in pixel values.

    Args:
        model: Whose classes are meant; used in evaluation mode.
        data: Gives mean and deviation of the pixels.
        inputs: Normalised, shape ``[N, C, H, W]``, on the network's device.
        classes: The forget classes.
        generator: Of the random start, on the CPU.

    Returns:
        Normalised inputs of the same shape.
    """
    logits = check_outputs(model, inputs, data.n_classes)
    logits[:, list(classes)] = -torch.inf
    how = {"bound": BOUND, "step": STEP, "steps": STEPS, "generator": generator}
    return towards(model, data, inputs, logits.argmax(1), **how)
