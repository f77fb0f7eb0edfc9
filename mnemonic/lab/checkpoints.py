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

import contextlib
import json
import os
import random
from dataclasses import astuple
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.lab.contents import contents
from mnemonic.lab.keys import code_digest, reached, surroundings
from mnemonic.networks.asked import device_of
from mnemonic.networks.running import copied, seeded, taken, undisturbed
from mnemonic.storage import Store, cache_folder, digest, read_tensors
from mnemonic.training.arguments import checked_arguments
from mnemonic.training.loop import History, train
from mnemonic.training.recipe import Recipe


def trained(
    model: nn.Module,
    data: ImageData,
    *,
    recipe: Recipe | None = None,
    codes: MnemonicCodes | None = None,
    t_mix: float = 0.0,
    seed: int = 0,
    progress: bool = True,
    with_history: bool = False,
) -> nn.Module | tuple[nn.Module, History]:
    """Train a fresh network, or fetch the result of the same training from the cache.

    The key is the content: the network with its code, weights, attributes, hooks and
    answers to a few images (see ``mnemonic.lab.contents``), what of it is trained,
    training images, recipe, codes where t_mix is above 0, seed, device, versions, and
    the code of all that training is made of. A damaged checkpoint is set aside with
    a warning and made again; two processes that want the same network train it once.

    Args:
        model: Freshly built, its weights are part of the key. It is filled in place.
        data: As in ``train``.
        recipe: As in ``train``.
        codes: As in ``train``.
        t_mix: As in ``train``.
        seed: As in ``train``.
        progress: As in ``train``.
        with_history: Whether losses and seconds are given, too.

    Returns:
        The same model, trained and in evaluation mode; with the history of its training
        (when it was made) if that is asked for.

    A ``ValueError`` says what does not fit, as in ``train``; an ``OSError`` that the
    cache cannot be written.
    """
    recipe, t_mix, seed = checked_arguments(model, data, recipe, codes, t_mix, seed)
    how = {"recipe": recipe, "t_mix": t_mix, "seed": seed}
    how["codes"] = codes if t_mix > 0 else None
    drawn = how["codes"] and how["codes"].images
    device, *versions = surroundings("torch", "torchvision", "numpy")
    network = [contents(model), _answers(model, data.input_shape, seed)]
    known = ("name", "class_names", "validation", "test")  # they train nothing
    shown = contents({n: v for n, v in vars(data).items() if n not in known})
    # Images in files are known by name, size and time, and not opened.
    files = [os.stat(file) for file in getattr(data.train, "files", ())]
    shown["files"] = repr([(file.st_size, file.st_mtime_ns) for file in files])
    code = code_digest(reached(["mnemonic.training.loop"]))
    key = digest(network, shown, how | {"codes": drawn}, device, versions, code)

    folder = cache_folder() / "checkpoints"
    store = Store(folder, ".safetensors", _read, _write)
    epochs = Store(folder, ".epoch", _read, _write)  # of a training of minutes or more

    def make() -> tuple[dict[str, Tensor], str]:
        lasting = {"resume": epochs.find(key), "keep": partial(epochs.keep, key)}
        history = train(model, data, progress=progress, **lasting, **how)
        return dict(model.state_dict()), json.dumps(astuple(history))

    weights, kept = store.fetch(key, make)
    with contextlib.suppress(OSError):  # there is none, or nothing may be taken away
        (folder / f"{key}.epoch").unlink()
    model.load_state_dict(weights)
    model.to(device).eval()
    losses, seconds = json.loads(kept)
    return (model, History(tuple(losses), seconds)) if with_history else model


def _answers(model: nn.Module, shape: tuple[int, int, int], seed: int) -> list:
    """What a copy answers to noise, and the streams of random numbers that it reads."""
    streams = _streams()
    generator, tried = torch.Generator().manual_seed(0), copied(model)
    noise = torch.rand((4, *shape), generator=generator, device="cpu")
    noise, answers, threads = noise.to(device_of(model)), [], torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits are those of every process
    with undisturbed(), torch.no_grad(), seeded(seed):
        for training in (False, True):
            try:
                answers.append(contents(tried.train(training)(taken(tried, noise))))
            except Exception as error:  # training will say so
                answers.append(type(error).__name__)
    torch.set_num_threads(threads)
    before, after = contents(streams), contents(_streams())
    random.setstate(streams[0])
    np.random.set_state(streams[1])  # noqa: NPY002
    return [answers, before if before != after else None]


def _streams() -> tuple:
    """Of Python and of numpy; torch's is seeded for training."""
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def _read(path: Path) -> tuple[tuple[dict[str, Tensor], str], str, str]:
    weights, kept = read_tensors(path)
    return (weights, kept["history"]), kept["key"], kept["sha256"]


def _write(path: Path, content: tuple, key: str, sha256: str) -> None:
    weights, history = content
    whole = {name: w.clone().contiguous() for name, w in weights.items()}  # not shared
    save_file(whole, path, {"history": history, "key": key, "sha256": sha256})
