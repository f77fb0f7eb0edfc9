"""Networks that are trained once and fetched afterwards.

Example:
    >>> from mnemonic.models import build_model
    >>> from mnemonic.data.sources import load_data
    >>> data = load_data("mnist-5k")
    >>> recipe = Recipe(epochs=1)
    >>> one, two = (build_model("mlp", data, seed=0) for _ in range(2))
    >>> first = trained(one, data, recipe=recipe, progress=False)
    >>> again = trained(two, data, recipe=recipe, progress=False)  # fetched
    >>> bool((first[1].weight == again[1].weight).all())
    True
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from filelock import FileLock
from lightning.fabric import Fabric
from torch import nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.storage import (
    digest,
    kept_folder,
    set_aside,
    source_digest,
    written_aside,
)
from mnemonic.training import History, Recipe, checked_arguments, train


def trained(
    model: nn.Module,
    data: ImageData,
    *,
    recipe: Recipe | None = None,
    codes: MnemonicCodes | None = None,
    t_mix: float = 0.0,
    seed: int = 0,
    progress: bool = True,
) -> nn.Module:
    """Train a fresh network, or fetch the result of the same training from the cache.

    The key is the content: architecture and initial weights, training images, recipe,
    codes, t_mix, seed, device, torch's version and this package's source. A damaged
    checkpoint is set aside with a warning and made again; two processes that want the
    same network train it once.

    Args:
        model: Freshly built, its weights are part of the key. It is filled in place.
        data: As in ``train``.
        recipe: As in ``train``.
        codes: As in ``train``.
        t_mix: As in ``train``.
        seed: As in ``train``.
        progress: As in ``train``.

    Returns:
        The same model, trained and in evaluation mode.

    A ``ValueError`` says what does not fit, as in ``train``; an ``OSError`` that the
    cache cannot be written.
    """
    return trained_with_history(
        model,
        data,
        recipe=recipe,
        codes=codes,
        t_mix=t_mix,
        seed=seed,
        progress=progress,
    )[0]


def trained_with_history(
    model: nn.Module,
    data: ImageData,
    *,
    recipe: Recipe | None = None,
    codes: MnemonicCodes | None = None,
    t_mix: float = 0.0,
    seed: int = 0,
    progress: bool = True,
) -> tuple[nn.Module, History]:
    """As ``trained``, with the losses and the seconds of the training when it was made.

    Args:
        model: As in ``trained``.
        data: As in ``train``.
        recipe: As in ``train``.
        codes: As in ``train``.
        t_mix: As in ``train``.
        seed: As in ``train``.
        progress: As in ``train``.

    Returns:
        The model in evaluation mode, and its history.
    """
    recipe, t_mix, seed = checked_arguments(model, data, recipe, codes, t_mix, seed)
    fabric = Fabric(accelerator="auto", devices=1)
    key = digest(
        str(model),
        dict(model.state_dict()),
        _content(data),
        recipe,
        codes.images if codes is not None else None,
        t_mix,
        seed,
        fabric.device.type,
        torch.__version__,
        source_digest("data", "splits", "files", "codes", "training"),
    )
    path = kept_folder("checkpoints") / f"{key[:32]}.safetensors"
    with FileLock(path.with_suffix(".lock")):
        history = _restored(model, path)
        if history is not None:
            return model.to(fabric.device).eval(), history
        history = train(
            model,
            data,
            recipe=recipe,
            codes=codes,
            t_mix=t_mix,
            seed=seed,
            fabric=fabric,
            progress=progress,
        )
        kept = json.dumps(asdict(history))
        metadata = {"history": kept, "sha256": _content_of(model, kept, path)}
        with written_aside(path) as aside:
            safetensors.torch.save_model(model, str(aside), metadata)
    return model, history


def _content_of(model: nn.Module, history: str, path: Path) -> str:
    return digest(dict(model.state_dict()), history, path.stem)


def _restored(model: nn.Module, path: Path) -> History | None:
    if not path.exists():
        return None
    before = copy.deepcopy(model.state_dict())
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        kept = json.loads(metadata["history"])
        history = History(tuple(kept["losses"]), kept["seconds"])
        safetensors.torch.load_model(model, path)
        if metadata["sha256"] != _content_of(model, metadata["history"], path):
            raise ValueError("its content is not what was written")
    except (
        safetensors.SafetensorError, RuntimeError, OSError, TypeError, KeyError,
        ValueError,
    ) as error:  # fmt: skip
        model.load_state_dict(before)  # some of its weights may have been read
        set_aside(path, str(error).splitlines()[0])
        return None
    return history


def _content(data: ImageData) -> list:
    split = data.train
    images = getattr(split, "pixels", None)
    if images is None:  # files are known by name and by label, not opened
        images = (split.files, split.image_size)
    return [images, split.labels, data.mean, data.std, data.augmentation]
