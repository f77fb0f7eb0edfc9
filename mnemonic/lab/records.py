"""Runs that are too long for every reader, made once and kept with their provenance.

    python -m mnemonic.lab.records mnist-complete

Example:
    >>> "methods-mnist" in RECORDS
    True
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from mnemonic.baselines import METHODS
from mnemonic.lab import results
from mnemonic.lab.comparison import all_settings, compare
from mnemonic.lab.every_class import every_class
from mnemonic.lab.grids import run_grid
from mnemonic.lab.pretrained import animals
from mnemonic.lab.scaling import NETWORKS, cost_of_codes, costs
from mnemonic.lab.setups import SETUPS
from mnemonic.lab.suspects import SHADOWS, SUSPECTS, left_over, told_apart
from mnemonic.storage import cache_folder

_RANDOM = "random weights, one processor thread; a strength and a sign are given"
_KEPT = "complete (a stratified tenth of the training images kept for validation)"
_FORGOT = (
    "each class forgotten, the strength chosen on the codes, or the paper's for MNIST"
)
_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Record:
    """A run to keep.

    Attributes:
        function: Of a grid.
        settings: Its settings.
        about: Data, model, recipe, in a sentence.
        seeds: One run each.
    """

    function: Callable[..., dict | list[dict]]
    settings: list[dict]
    about: str
    seeds: tuple[int, ...] = _SEEDS


def _about(setup: str, about: str) -> str:
    chosen = SETUPS[setup]
    seen = "all" if chosen.per_class is None else f"{chosen.per_class} a class of the"
    if chosen.side:
        about += f", images averaged down to {chosen.side} pixels"
    recipe, classes = chosen.recipe, ", ".join(map(str, chosen.classes))
    return (
        f"{about}; {seen} training images; {recipe.epochs} epochs, batch "
        f"{recipe.batch_size}, learning rate {recipe.learning_rate:g} "
        f"({recipe.schedule}); t_mix {chosen.t_mix:g}; class {classes} forgotten, "
        "methods with settings tuned on the validation split of "
        f"{chosen.settings_of or setup}"
    )


def _compared(setup: str, about: str) -> Record:
    return Record(compare, all_settings(setup, list(METHODS)), _about(setup, about))


def _at_imagenet_scale(device: str) -> Record:
    where, networks = "one processor thread", ["resnet18"]  # it comes to an end
    if device == "cuda":
        where, networks = "a GPU", ["resnet18", "resnext50_32x4d", "swin_t"]
    size = {"n_classes": 1000, "side": 224, "device": device}
    return Record(
        costs,
        [{"network": network, **size} for network in networks],
        f"Time and memory of forgetting one of 1,000 classes; random weights, {where}; "
        "a strength and a sign are given",
        seeds=(0,),
    )


def _suspected(
    function: Callable[..., list[dict]],
    setup: str,
    about: str,
    seeds: tuple[int, ...] = _SEEDS,
    **more: object,
) -> Record:
    settings = [{"setup": setup, "name": name, **more} for name in SUSPECTS]
    return Record(function, settings, _about(setup, about), seeds)


RECORDS = {
    "mnist-complete": Record(
        every_class,
        [{"profile": "full", "data_name": "mnist"}],
        f"MNIST {_KEPT}, MLP 784-1000-10, 200 epochs, t_mix 0.1, codes U[0, 1]; "
        + _FORGOT,
    ),
    "fashion-mnist-short": Record(
        every_class,
        [{"profile": "smoke", "data_name": "fashion-mnist"}],
        f"Fashion-MNIST {_KEPT}, MLP 784-1000-10, 10 epochs with learning rate 0.05, "
        f"t_mix 0.1, codes U[0, 1]; {_FORGOT}",
    ),
    **{
        f"{name}-resnet18": Record(
            every_class,
            [{"profile": "resnet18", "data_name": name}],
            f"{title} {_KEPT}, ResNet-18, 200 epochs, t_mix 0.3, codes U[0, 1]; "
            + _FORGOT,
        )
        for name, title in (
            ("cifar10-jpeg", "CIFAR-10 (JPEG)"),
            ("fashion-mnist", "Fashion-MNIST"),
            ("tiny-imagenet-40", "Tiny-ImageNet-40"),
        )
    },
    "methods-mnist-5k-resnet": _compared(
        "mnist-5k-resnet", "5,000 MNIST images, a ResNet with 78,000 weights"
    ),
    "methods-mnist": _compared("mnist-mlp", "MNIST, MLP 784-1000-10"),
    "methods-fashion-mnist": _compared(
        "fashion-mnist-resnet", "Fashion-MNIST, a ResNet with 78,000 weights"
    ),
    "methods-cifar10-jpeg": _compared(
        "cifar10-jpeg-resnet", "CIFAR-10 (JPEG), a ResNet with 78,000 weights"
    ),
    "methods-tiny-imagenet-40": _compared(
        "tiny-imagenet-40-resnet", "Tiny-ImageNet-40, a ResNet with 78,000 weights"
    ),
    "audits-fashion-mnist": _suspected(
        left_over,
        "fashion-mnist-resnet",
        "Fashion-MNIST, a ResNet with 78,000 weights",
        layer="blocks",
    ),
    "lira-mnist-5k": _suspected(
        told_apart,
        "mnist-5k-mlp",
        f"U-LiRA with {SHADOWS} shadow pairs; 5,000 MNIST images, MLP 784-1000-10",
        seeds=(0,),
    ),
    "imagenet-lite0": Record(
        animals,
        [
            {"distribution": d, "epochs": 20, "n_forget": 5}
            for d in ("low-frequency", "uniform")
        ],
        "EfficientNet-Lite0, pretrained on ImageNet, 1,000 outputs and 1,000 codes; "
        "its last layer fine-tuned on features of Tiny-ImageNet-40 (64 pixels, "
        "enlarged to 128), 100 training images a class; 20 epochs, batch 64, learning "
        "rate 0.1 (cosine), t_mix 0.3; five animals forgotten, one at a time, by the "
        "last layer",
    ),
    "costs-classes": Record(
        costs,
        [
            {"network": network, "n_classes": k, "side": side}
            for network, side in (
                ("mobilenet_v3_large", 64),
                ("resnet18", 64),
                ("swin_t", 32),
            )
            for k in (10, 30, 100, 300, 1000)
            if k < 1000 or network != "swin_t"
        ],
        f"Time and memory of forgetting; {_RANDOM}",
        seeds=(0,),
    ),
    "costs-imagenet": _at_imagenet_scale(
        "cuda" if torch.cuda.is_available() else "cpu"
    ),
    "costs-codes": Record(
        cost_of_codes,
        [
            {"n_classes": k, "t_mix": t_mix, "distribution": distribution}
            for k in (10, 40)
            for t_mix, distribution in (
                (0.0, "uniform"),
                (0.1, "uniform"),
                (0.3, "uniform"),
                (0.1, "low-frequency"),
            )
        ],
        "Accuracy lost to the codes: the first K classes of Tiny-ImageNet-40, images "
        "averaged down to 32 pixels, 100 training images a class; a ResNet with 78,000 "
        "weights; 15 epochs, batch 64, learning rate 0.05 (cosine); class 3 forgotten "
        "by the last layer, the strength chosen on the codes",
    ),
    "costs-networks": Record(
        costs,
        [{"network": network, "n_classes": 10, "side": 64} for network in NETWORKS],
        f"Time and memory of forgetting; {_RANDOM}",
        seeds=(0,),
    ),
}


def main(names: list[str]) -> int:
    """Make the runs named, or say which there are.

    Args:
        names: Keys of ``RECORDS``.

    Returns:
        0, or 2 if there is no such run.
    """
    unknown = [n for n in names if n not in RECORDS]
    if unknown or not names:
        print(f"no run {unknown}; there are {', '.join(RECORDS)}", file=sys.stderr)
        return 2
    for name in names:
        made = RECORDS[name]
        with _own_cache(name):
            frame = run_grid(made.function, made.settings, made.seeds)
        seconds = frame.attrs["seconds"]
        frame = frame.drop(columns="settings", errors="ignore")
        results.record(name, frame, about=made.about, seconds=seconds)
    return 0


@contextlib.contextmanager
def _own_cache(name: str) -> Iterator[None]:
    """A cache for one record, so that its seconds hold the training of its networks."""
    before, whole = os.environ.get("MNEMONIC_CACHE"), cache_folder()
    os.environ.setdefault("MNEMONIC_DATA", str(whole / "data"))
    os.environ["MNEMONIC_CACHE"] = str(whole / "records" / name)
    try:
        yield
    finally:
        del os.environ["MNEMONIC_CACHE"]
        if before is not None:
            os.environ["MNEMONIC_CACHE"] = before


if __name__ == "__main__":
    # By the module's own name, so that worker processes import what they run.
    from mnemonic.lab import records

    sys.exit(records.main(sys.argv[1:]))
