"""Trained networks as files to pass on: weights, codes, and a card that says of what.

    python -m mnemonic.lab.offered resnet18 networks/resnet18-cifar10-jpeg.safetensors

The file is read without running any code of its own, and checked: against its own hash,
and by asking the network for its codes.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mnemonic.checks import checked_path
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import SPLITS, ImageData
from mnemonic.evaluation import evaluate
from mnemonic.lab.profiles import Profile
from mnemonic.lab.results import provenance
from mnemonic.models import build_model
from mnemonic.networks.running import evaluation_mode
from mnemonic.storage import digest, intact, read_tensors, verify, written_aside

LICENCE = "MIT; the images it was trained on have licences of their own"


def offer(path: str | Path, profile: str, *, seed: int = 0) -> dict:
    """Write the network of a profile to a file; it is trained unless the cache has it.

    Args:
        path: ``.safetensors``; its folder is made if it is missing.
        profile: Name of a profile with codes.
        seed: Of codes, first weights and training.

    Returns:
        The card.

    A ``ValueError`` says that there is no such profile, an ``OSError`` that the file
    cannot be written.
    """
    path, settings = checked_path("path", path), Profile.named(profile)
    data = settings.load()
    model, codes = settings.trained(data, seed)
    counted = evaluate(model, data, [0])
    card = {
        "network": settings.model_name,
        "data": data.name,
        "class_names": list(data.class_names),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "training_images": len(data.train),
        "recipe": asdict(settings.recipe),
        "t_mix": settings.t_mix,
        "seed": seed,
        "accuracy": counted.accuracy,
        "test_images": counted.n,
        "distribution": codes.distribution,
        "licence": LICENCE,
        **provenance(),
    }
    tensors = {f"weights/{n}": w for n, w in model.state_dict().items()}
    tensors = {
        n: w.contiguous() for n, w in (tensors | {"codes": codes.images}).items()
    }
    metadata = {"card": json.dumps(card), "sha256": digest(tensors, json.dumps(card))}
    with written_aside(path) as aside:
        save_file(tensors, aside, metadata)
    return card


def load_network(path: str | Path) -> tuple[nn.Module, MnemonicCodes, dict]:
    """Read a network that a release of this book offers.

    Args:
        path: A file of ``python -m mnemonic.lab.offered``.

    Returns:
        The network on the CPU, in evaluation mode; the codes that it was trained with;
        and its card: ``network``, ``data``, ``mean`` and ``std`` of the pixels that it
        expects, ``recipe``, ``t_mix``, ``accuracy`` on ``test_images`` (percent),
        ``licence``, and where it comes from.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds something else.
    """
    path = checked_path("path", path)
    if not os.path.exists(path):  # false as well for a name that no file can have
        raise FileNotFoundError(
            f"no network at {path}; download one from a release of the book, or make "
            "it: python -m mnemonic.lab.offered resnet18 FILE"
        )
    with intact(
        f"{path} is damaged or holds no network",
        "give a file of a release, or download it again",
    ):
        tensors, metadata = read_tensors(path)
        verify(digest(tensors, metadata["card"]), metadata["sha256"])
        card = json.loads(metadata["card"])
        images = tensors.pop("codes")
        how = card["seed"], card["distribution"]
        codes = MnemonicCodes(images, tuple(card["class_names"]), *how)
        model = build_model(card["network"], _shaped_like(codes))
        named = {n.removeprefix("weights/"): w for n, w in tensors.items()}
        model.load_state_dict(named)
        with torch.no_grad(), evaluation_mode(model):
            knows = bool((model(images).argmax(1) == codes.labels).all())
        if not knows:
            raise ValueError("it does not know its own codes")
    return model.eval(), codes, card


def _shaped_like(codes: MnemonicCodes) -> ImageData:
    """Data of the same shape and classes: the codes themselves."""
    part: tuple[Tensor, Tensor] = codes.images.clamp(0, 1), codes.labels
    parts = dict.fromkeys(SPLITS, part)
    return ImageData.from_arrays(**parts, class_names=codes.class_names, name="codes")


if __name__ == "__main__":
    print(json.dumps(offer(sys.argv[2], sys.argv[1]), indent=1))
