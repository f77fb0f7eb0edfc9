"""Runs that are too long for every reader, made once and kept with their provenance.

    python -m mnemonic.lab.records mnist-complete

Example:
    >>> "methods-mnist" in RECORDS
    True
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from mnemonic.baselines import METHODS
from mnemonic.lab import results
from mnemonic.lab.as_published import COUNTED, as_published
from mnemonic.lab.comparison import all_settings, compare
from mnemonic.lab.every_class import every_class
from mnemonic.lab.grids import run_grid
from mnemonic.lab.kinds import KINDS, LARGE
from mnemonic.lab.one_drawing import answered
from mnemonic.lab.panel import ASKED, answers, judged, requests
from mnemonic.lab.pretrained import animals
from mnemonic.lab.profiles import Profile
from mnemonic.lab.readings import readings
from mnemonic.lab.scaling import NETWORKS, cost_of_codes, costs
from mnemonic.lab.settings import about, about_tuned, combined
from mnemonic.lab.suspects import SHADOWS, SUSPECTS, left_over, told_apart
from mnemonic.storage import cache_folder


@dataclass(frozen=True)
class Record:
    """A run to keep.

    Attributes:
        function: Of a grid.
        settings: Its settings.
        about: Data, model, recipe, in a sentence.
        seeds: One run each.
        tensors: Logits to keep, of a seed.
        networks: Record whose networks it takes; its own where missing.
    """

    function: Callable[..., dict | list[dict]]
    settings: list[dict]
    about: str
    seeds: tuple[int, ...] = (0, 1, 2)
    tensors: Callable[[int], dict[str, Tensor]] | None = None
    networks: str = ""


def _in_turn(name: str, data_name: str) -> Record:
    how = "each class forgotten, the strength chosen on the codes or the paper's"
    told = f"{about(name, data_name)}; {how}, {Profile.named(name).strength}"
    return Record(every_class, combined(profile=[name], data_name=[data_name]), told)


def _read(name: str) -> str:
    return f"{about(name)}; one class forgotten by every reading of the paper's step"


def _compared(*names: str) -> Record:
    settings = [s for name in names for s in all_settings(name, list(METHODS))]
    return Record(compare, settings, "; ".join(map(about_tuned, names)))


def _of_photographs(profile: str) -> dict[str, Record]:
    """Two to four hours on two cores for each network, and one for each record."""
    name = f"{Profile.named(profile).data_name}-resnet18"
    asked, read = requests(10, n_sets=3), combined(setup=[profile], c=[0])
    shown = f"{about(profile)}; the paper's figures, {COUNTED} test images a class"
    made = {
        f"readings-{name}": Record(readings, read, _read(profile), (0,), None, name),
        f"figures-{name}": Record(as_published, read, shown, (0,), None, name),
    }
    for end, classes, what in (
        ("", asked[:10], "each class"),
        ("-sets", asked[10:], f"{len(asked) - 10} sets"),
        ("-never", [(0,)], "a network that never saw the class stands by; class 0"),
    ):
        how = {"kind": LARGE[profile], "attacked": end == "-never"}
        settings = [how | {"classes": list(c)} for c in classes]
        kept = partial(answers, classes=[0], **how) if (0,) in classes else None
        told = f"{about(profile)}; {what} forgotten by every rule"
        made[name + end] = Record(judged, settings, told, (0,), kept, name)
    return made


def _costs(settings: list[dict], where: str = "one processor thread") -> Record:
    how = f"random weights, {where}; a strength and a sign are given"
    return Record(costs, settings, f"Time and memory of forgetting; {how}", seeds=(0,))


_LARGER = ("fashion-mnist", "cifar10-jpeg", "tiny-imagenet-40")  # than MNIST
_COUNTS = (10, 30, 100, 300, 1000)
_IMAGENET = {"n_classes": [1000], "side": [224]}
_ON_A_GPU = ("resnet18", "resnext50_32x4d", "swin_t")
_RESNET = "mnist-5k-resnet"
_RECIPE = ("epochs", "batch_size", "learning_rate", "schedule")
_RECIPES = (
    (200, 128, 0.01, "constant"),  # the paper's
    (100, 64, 0.01, "constant"),
    (10, 128, 0.05, "constant"),
    (20, 128, 0.05, "constant"),
    (40, 128, 0.05, "constant"),
    (40, 128, 0.05, "cosine"),
    (20, 128, 0.1, "constant"),
    (40, 128, 0.1, "constant"),
)
_SMALL = [kind for kind in KINDS if kind not in LARGE.values()]
_PANEL = (
    f"{len(_SMALL)} kinds of networks, trained with codes on the digits (5,000 images) "
    "or Fashion-MNIST; each class and thirty sets forgotten by every rule"
)
RECORDS = {
    "recipes": Record(
        every_class,
        [
            {"profile": "quick", "data_name": "mnist-5k", "split": "validation"}
            | dict(zip(_RECIPE, values, strict=True))
            for values in _RECIPES
        ],
        "5,000 MNIST images, MLP 784-1000-10, t_mix 0.1; each class forgotten, the "
        "strength chosen on the codes or the paper's; counted on validation images",
        seeds=(1000, 1001, 1002),
    ),
    "mnist-complete": _in_turn("full", "mnist"),
    "fashion-mnist-short": _in_turn("smoke", "fashion-mnist"),
    **{f"{data}-resnet18": _in_turn("resnet18", data) for data in _LARGER[::2]},
    **_of_photographs("cifar10-resnet18"),
    **_of_photographs("resnet18"),
    "readings-mnist-5k-resnet": Record(
        readings, combined(setup=[_RESNET], c=[0, 3, 8]), _read(_RESNET)
    ),
    # All methods and controls, on two networks: half an hour on two cores.
    "comparison": _compared("quick", _RESNET),
    "methods-mnist-5k-resnet": _compared(_RESNET),
    "methods-mnist": _compared("mnist-mlp"),
    **{f"methods-{data}": _compared(f"{data}-resnet") for data in _LARGER},
    "audits-fashion-mnist": Record(
        left_over,
        combined(setup=["fashion-mnist-resnet"], name=SUSPECTS, layer=["blocks"]),
        about_tuned("fashion-mnist-resnet"),
    ),
    "lira-mnist-5k": Record(
        told_apart,
        combined(setup=["quick"], name=SUSPECTS),
        f"U-LiRA with {SHADOWS} shadow pairs; {about_tuned('quick')}",
        seeds=(0,),
    ),
    "panel": Record(
        judged,
        [
            {"kind": kind, "classes": list(c), "attacked": c in ASKED}
            for kind in _SMALL
            for c in requests(10)
        ],
        _PANEL,
    ),
    "people-omniglot": Record(
        answered,
        combined(data=["omniglot"], n=[8]),
        "Omniglot's small background sets, 4,840 drawings averaged down to 21 pixels, "
        "by 160 writer sheets: 96 train a small convolutional network on the number of "
        "strokes (four classes), 32 are the strangers of the learned loss, 32 those "
        "of the test; eight people ask at once, by one drawing each, twice a network",
    ),
    "imagenet-lite0": Record(
        animals,
        combined(distribution=["low-frequency", "uniform"], epochs=[20], n_forget=[5]),
        "EfficientNet-Lite0, pretrained on ImageNet, 1,000 outputs and 1,000 codes; "
        "its last layer fine-tuned on features of Tiny-ImageNet-40 (64 pixels, "
        "enlarged to 128), 100 training images a class; 20 epochs, batch 64, learning "
        "rate 0.1 (cosine), t_mix 0.3; five animals forgotten, one at a time, by the "
        "last layer",
    ),
    "costs-classes": _costs(
        combined(
            network=["mobilenet_v3_large", "resnet18"], n_classes=_COUNTS, side=[64]
        )
        + combined(network=["swin_t"], n_classes=_COUNTS[:-1], side=[32])
    ),
    # On a processor one network comes to an end.
    "costs-imagenet": _costs(
        combined(network=["resnet18"], **_IMAGENET, device=["cpu"])
    ),
    "costs-imagenet-gpu": _costs(
        combined(network=_ON_A_GPU, **_IMAGENET, device=["cuda"]), where="a GPU"
    ),
    "costs-codes": Record(
        cost_of_codes,
        combined(n_classes=[10, 40], t_mix=[0.0, 0.1, 0.3], distribution=["uniform"])
        + combined(n_classes=[10, 40], t_mix=[0.1], distribution=["low-frequency"]),
        "Accuracy lost to the codes: the first K classes of Tiny-ImageNet-40, images "
        "averaged down to 32 pixels, 100 training images a class; a ResNet with 78,000 "
        "weights; 15 epochs, batch 64, learning rate 0.05 (cosine); class 3 forgotten "
        "by the last layer, the strength chosen on the codes",
    ),
    "costs-networks": _costs(combined(network=NETWORKS, n_classes=[10], side=[64])),
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
    whole = cache_folder()
    for name in names:
        made, before = RECORDS[name], dict(os.environ)
        # Not the reader's cache, so that its seconds hold the training of its networks.
        os.environ.setdefault("MNEMONIC_DATA", str(whole / "data"))
        os.environ["MNEMONIC_CACHE"] = str(whole / "records" / (made.networks or name))
        try:
            frame = run_grid(made.function, made.settings, made.seeds)
            kept = {
                f"{seed}/{rule}": logits.contiguous()
                for seed in (made.seeds if made.tensors else ())
                for rule, logits in made.tensors(seed).items()
            }
        finally:
            os.environ.clear()
            os.environ.update(before)
        seconds = frame.attrs["seconds"]
        if "settings" in frame:  # of the methods, as they were then
            frame = frame.assign(settings=frame["settings"].map(json.dumps))
        how = {"about": made.about, "seconds": seconds, "tensors": kept}
        results.record(name, frame, **how)
    return 0


if __name__ == "__main__":
    # By the module's own name, so that worker processes import what they run.
    from mnemonic.lab import records

    sys.exit(records.main(sys.argv[1:]))
