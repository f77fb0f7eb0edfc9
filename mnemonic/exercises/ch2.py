"""Checks of chapter 2, mnemonic codes."""

from collections.abc import Callable

import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.exercises.answers import attempted, done, expect, near, validated
from mnemonic.models import build_model
from mnemonic.training.loop import train
from mnemonic.training.recipe import Recipe


def predict(on_images: float, on_codes: float, data: ImageData) -> None:
    """Train on nothing but codes: were both accuracies foreseen within 20 points?"""
    attempted(on_images, on_codes)
    model = build_model("mlp", data, seed=0)
    codes = MnemonicCodes.draw(data, seed=0)
    recipe = Recipe(epochs=5, learning_rate=0.05)
    train(model, data, codes=codes, t_mix=1.0, recipe=recipe, seed=0, progress=False)
    images = validated(model.cpu(), data, [3]).accuracy
    with torch.no_grad():
        right = (model(codes.images).argmax(1) == codes.labels).double()
    read = 100 * float(right.mean())
    near(on_codes, read, 20, "the codes are all that it ever saw")
    near(on_images, images, 10, "it has never seen an image")
    done(f"Images: {images:.0f} %, codes: {read:.0f} %.")


def change(
    wins: Callable[[float], tuple[float, float]],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """Does ``wins(s)`` count the answers for the code, and those for the digit?"""
    attempted(wins(0.5))
    images, labels = data.inputs(data.test)[:200], data.test.labels[:200]
    for s in (0.0, 0.5, 1.0):
        won = []
        for c, code in enumerate(codes.images):
            others = labels != c
            with torch.no_grad():
                answers = model((1 - s) * code + s * images[others]).argmax(1)
            won.append(torch.stack((answers == c, answers == labels[others])))
        truth = 100 * torch.cat(won, 1).double().mean(1)
        for whose, ours, theirs in zip(("code", "digit"), wins(s), truth, strict=True):
            hint = (
                f"at s = {s} the {whose} wins {theirs:.1f} % of the pairs "
                f"of a code and one of the first 200 test images of another class, not "
                f"{float(ours):.1f} %"
            )
            near(ours, theirs, 0.2, hint)
    code, digit = wins(0.5)
    done(f"At s = 0.5 the code wins {code:.0f} %, the digit {digit:.0f} %.")


def implement(substitute: Callable[..., Tensor]) -> None:
    """Is exactly the share ``t_mix`` replaced, by the right codes, and at random?"""
    labels = torch.arange(40) % 4
    inputs = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    codes = 2 + torch.arange(4.0)[:, None, None, None].expand(4, 1, 3, 3)
    places = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        mixed = attempted(substitute(inputs, labels, codes, 0.3, generator))
        replaced = (mixed != inputs).flatten(1).any(1)
        expect(int(replaced.sum()) == 12, "12 of 40 images are to be replaced, always")
        right = torch.equal(mixed[replaced], codes[labels[replaced]])
        expect(right, "an image gives way to the code of its own class")
        places.append(replaced.double())
    share = torch.stack(places).mean(0)
    fair = bool((share > 0.1).all() and (share < 0.5).all())
    expect(fair, "each image is to be replaced equally often")
    done("Twelve of forty, in every batch, each image as often as any other.")


def critique(
    largest_correlation: Callable[[Tensor, Tensor], float],
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """How like a training image are the codes, and how like are codes never used?"""
    images = data.images(data.train)
    strangers = MnemonicCodes.draw(data, seed=codes.seed + 1000)
    found = []
    for some in (codes, strangers):
        answer = attempted(largest_correlation(some.images, images))
        pairs = cdist(some.images.flatten(1), images.flatten(1), "correlation")
        wanted = float(abs(1 - pairs).max())
        near(answer, wanted, 1e-3, f"of all pairs it is {wanted:.3f}")
        found.append(wanted)
    done(f"{found[0]:.2f} for these codes, {found[1]:.2f} for codes not trained with.")
