"""What a network gives for part of the data: logits, and the features of its layers.

Features of a layer are its outputs, one row an image. Maps ``[N, C, H, W]`` are
averaged over as many equal squares as leave 2,048 numbers or fewer, sequences
``[N, T, D]`` over their T positions.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> model = mn.build_model("mlp", data)
    >>> threes = part_of(data, "test", [3])
    >>> list(logits_of(model, data, threes).shape), layers_of(model, data)
    ([100, 10], ('1', '2', '3'))
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.checks import checked_classes
from mnemonic.data.arrays import ImageData, checked_data, named_split
from mnemonic.data.splits import Split, belongs
from mnemonic.networks.asked import check_outputs, device_of
from mnemonic.networks.layers import last_layer, watched

BATCH_SIZE = 512
MOST_FEATURES = 2048
# Layers that give on what they were given: a probe on them reads the layer before.
_NOTHING_NEW = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)


def told_apart(
    classes: Sequence[int | str], known: Sequence[str] | range
) -> tuple[list[int], list[int]]:
    """Indices of the forget classes and of the remaining ones, in ascending order."""
    forget = checked_classes(classes, known)
    return list(forget), [c for c in range(len(known)) if c not in forget]


def part_of(
    data: ImageData, split: str, classes: Sequence[int], *, others: bool = False
) -> Split:
    """The images of some classes of a split.

    Args:
        data: Images of ``K`` classes.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        classes: The forget classes.
        others: Give those of the remaining classes instead.

    Returns:
        The part, in the order of the split.

    Raises:
        ValueError: If the split or a class is not known, or there is no such image.
    """
    classes = checked_classes(classes, checked_data(data).class_names)
    whole = named_split(data, split)
    chosen = belongs(whole.labels, classes) != others
    if not chosen.any():
        kind = "remaining" if others else "forget"
        raise ValueError(
            f"0 of {len(whole)} {split} images are of the {kind} classes "
            f"({list(classes)} are to be forgotten); give the whole data, not what was "
            "left of it for a retrained network"
        )
    return whole.take(chosen.nonzero()[:, 0])


def halves(
    data: ImageData, classes: Sequence[int], split: str = "test"
) -> dict[str, Split]:
    """Images of the ``"forget"`` and of the ``"remaining"`` classes."""
    return {
        "forget": part_of(data, split, classes),
        "remaining": part_of(data, split, classes, others=True),
    }


def quarters(data: ImageData, classes: Sequence[int]) -> dict[str, Split]:
    """Both sides of the training and of the test images, such as ``"forget-test"``."""
    return {
        f"{whose}-{split}": part_of(data, split, classes, others=whose == "remaining")
        for whose in ("forget", "remaining")
        for split in ("train", "test")
    }


def inputs_of(model: nn.Module, data: ImageData, split: Split) -> Iterator[Tensor]:
    """Inputs of a split, batch by batch, where the network is."""
    device = device_of(model)
    for inputs, _ in data.batches(split, batch_size=BATCH_SIZE, device=device):
        yield inputs


def logits_of(model: nn.Module, data: ImageData, split: Split) -> Tensor:
    """Logits of each image of a split.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode.
        data: What the split is of.
        split: Some of its images.

    Returns:
        Shape ``[N, K]``, on the CPU.
    """
    batches = inputs_of(model, data, split)
    return torch.cat([check_outputs(model, b, data.n_classes) for b in batches]).cpu()


def answered_right(model: nn.Module, data: ImageData, split: Split) -> Tensor:
    """Whether the network is right about each image of a split, shape ``[N]``."""
    return logits_of(model, data, split).argmax(1) == split.labels.cpu()


def check_fits(model: nn.Module, data: ImageData) -> None:
    """Make sure that a network gives K logits for images of such data."""
    blank = torch.zeros(2, *checked_data(data).input_shape, device=device_of(model))
    check_outputs(model, blank, data.n_classes)


def last_linear(model: nn.Module, data: ImageData) -> nn.Linear | None:
    """The layer that gives the logits, if it is a linear one."""
    check_fits(model, data)
    try:
        return last_layer(model, data.input_shape)[1]
    except ValueError:  # the network itself has been looked at
        return None


def layers_of(model: nn.Module, data: ImageData) -> tuple[str, ...]:
    """Names of the top-level layers that compute something.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        data: Gives the input shape.

    Returns:
        In the order in which they run; without layers that only reshape, and without
        those that give no tensor ``[N, …]``. Lists of layers count as their members.
    """
    device_of(model)  # refuses what is no network
    found: dict[str, object] = {}
    with watched(
        dict(_top_level(model)), lambda name, _, output: found.update({name: output})
    ):
        check_fits(model, data)
    return tuple(name for name, output in found.items() if _is_feature(output, 2))


def features_of(
    model: nn.Module, data: ImageData, split: Split, layers: Sequence[str]
) -> dict[str, Tensor]:
    """Outputs of layers, one row an image.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode and
            left as it was.
        data: What the split is of.
        split: Some of its images.
        layers: Names, as in ``model.named_modules()``.

    Returns:
        For each layer ``[N, D]``, on the CPU.

    Raises:
        ValueError: If a layer is not there, or gives no tensor ``[N, …]``.
    """
    device_of(model)  # refuses what is no network
    modules = dict(model.named_modules())
    strange = [name for name in layers if name not in modules]
    if strange or isinstance(layers, str):
        named = ", ".join(strange) or repr(layers)
        raise ValueError(
            f"{type(model).__name__} has no layer {named}; "
            f"give a list of some of {', '.join(n for n in modules if n)}"
        )
    rows: dict[str, list[Tensor]] = {name: [] for name in layers}
    seen: dict[str, object] = {}

    def keep(name: str, _: tuple, output: object) -> None:
        seen[name] = _row(output) if isinstance(output, Tensor) else output

    with watched({name: modules[name] for name in layers}, keep):
        for inputs in inputs_of(model, data, split):
            seen.clear()
            check_outputs(model, inputs, data.n_classes)
            for name in layers:
                if not _is_feature(seen.get(name), len(inputs)):
                    raise ValueError(
                        f"layer {name} of {type(model).__name__} gives no tensor with "
                        "one entry an image when the network runs; name another"
                    )
                rows[name].append(seen[name])
    return {name: torch.cat(parts) for name, parts in rows.items()}


def last_inputs(
    model: nn.Module, layer: nn.Linear, data: ImageData, split: Split
) -> Tensor:
    """What the last linear layer is given for each image, ``[N, D]``, on the CPU."""
    rows: list[Tensor] = []
    with watched(
        {"last": layer}, lambda _, given, __: rows.append(given[0].flatten(1))
    ):
        for inputs in inputs_of(model, data, split):
            check_outputs(model, inputs)
    return torch.cat(rows).cpu()


def _top_level(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, layer in model.named_children():
        wrapped = name in ("module", "_orig_mod")  # by DataParallel, torch.compile
        if wrapped or isinstance(layer, (nn.ModuleList, nn.ModuleDict)):
            yield from _top_level(layer, f"{prefix}{name}.")
        elif not isinstance(layer, _NOTHING_NEW):
            yield prefix + name, layer


def _is_feature(output: object, n: int) -> bool:
    return isinstance(output, Tensor) and output.ndim >= 2 and len(output) == n


def _row(output: Tensor) -> Tensor:
    if output.ndim == 4 and output[0].numel() > MOST_FEATURES:
        side = max(math.isqrt(MOST_FEATURES // output.shape[1]), 1)
        sides = [min(side, length) for length in output.shape[2:]]
        output = functional.adaptive_avg_pool2d(output, sides)
    elif output.ndim == 3:
        output = output.mean(1)
    # A copy: a ReLU that works in place comes next and would change what was seen.
    return output.detach().float().flatten(min(1, output.ndim - 1)).cpu().clone()
