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
from dataclasses import astuple
from functools import partial
from numbers import Number
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.lab.keys import code_digest, code_of, reached, surroundings
from mnemonic.storage import Store, cache_folder, digest, read_tensors
from mnemonic.training.loop import History, checked_arguments, train
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

    The key is the content: architecture and initial weights, training images, recipe,
    codes where t_mix is above 0, seed, device, torch's version, and the code of the
    network and of all that training is made of. A damaged checkpoint is set aside with
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
    device, *versions = surroundings("torch", "torchvision")
    network = [str(model), dict(model.state_dict()), _code(model), _plain(model)]
    # Images in files are known by name and by label, and not opened.
    shown = [data.train, data.mean, data.std, data.augmentation]
    key = digest(network, shown, how | {"codes": drawn}, device, versions)

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


def _plain(model: nn.Module) -> list:
    """What neither weights nor code tell: what is trained, and attributes of layers."""
    own = [
        (name, key, getattr(value, "__qualname__", str(value)))
        for name, layer in model.named_modules()
        for key, value in vars(layer).items()
        if key[0] != "_" and (callable(value) or isinstance(value, (str, Number)))
    ]
    return [own, [name for name, p in model.named_parameters() if p.requires_grad]]


def _code(model: nn.Module) -> list[str]:
    """Digests of what a training runs, and of classes that are not torch's."""
    classes = {type(module) for module in model.modules()}
    own = [
        c for c in classes if c.__module__.split(".")[0] not in ("torch", "torchvision")
    ]
    files = reached(["mnemonic.training.loop", *(c.__module__ for c in own)])
    return [code_digest(files), *sorted(digest(code_of(c)) for c in own)]


def _read(path: Path) -> tuple[tuple[dict[str, Tensor], str], str, str]:
    weights, kept = read_tensors(path)
    return (weights, kept["history"]), kept["key"], kept["sha256"]


def _write(path: Path, content: tuple, key: str, sha256: str) -> None:
    weights, history = content
    whole = {name: w.clone().contiguous() for name, w in weights.items()}  # not shared
    save_file(whole, path, {"history": history, "key": key, "sha256": sha256})
