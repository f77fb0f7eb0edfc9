"""Small data, small networks and a cache folder of its own for every test."""

import copy
import gzip
import hashlib
import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import pytest
import torch
from smoke_book import book, browser, publish_smoke  # noqa: F401  (fixtures)
from torch import nn

import mnemonic as mn
from mnemonic.data import originals


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run what is marked soak, too")


def pytest_collection_modifyitems(config, items):
    """What takes longest goes first, so that no worker is left alone with it.

    One worker of two begins with the book, from its last chapter, the other in the
    middle of the list, with the chapters from the first.
    """
    pages = ("test_book.py", "test_browser.py")
    items.sort(key=lambda item: item.path.name not in pages)
    chapters = [i for i in items if i.path.name == "test_solutions.py"]
    middle = (len(items) + 1) // 2
    items[:] = [i for i in items if i.path.name != "test_solutions.py"]
    items[middle:middle] = chapters
    for item in items:
        mark = item.get_closest_marker("soak")
        if mark and not config.getoption("soak"):
            why = f"{mark.kwargs['why']}; make soak and the nightly job run all"
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MNEMONIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MNEMONIC_DATA", raising=False)


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    return request.param


def pass_for_originals(monkeypatch, name, files):
    """Let files that a test made stand in for those of a named set."""
    contents = {}
    for file in files:
        raw = file.read_bytes()
        raw = gzip.decompress(raw) if file.suffix == ".gz" else raw
        contents[file.name.removesuffix(".gz")] = hashlib.sha256(raw).hexdigest()
    monkeypatch.setitem(originals.SHA256, name, contents)


def blobs(n=120, k=3, shape=(1, 6, 6), seed=0):
    """Images of ``k`` classes that a linear network can tell apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % k
    images = 0.6 * torch.rand((n, *shape), generator=generator)
    for c in range(k):  # a bright row a class
        images[labels == c, :, c, :] += 0.4
    return images, labels


@pytest.fixture
def data():
    return mn.ImageData.from_arrays(
        train=blobs(seed=0), test=blobs(seed=1), class_names=["a", "b", "c"]
    )


@pytest.fixture
def codes(data):
    return mn.MnemonicCodes.draw(data, seed=0)


@pytest.fixture
def tiny(data):
    """A network small enough for a brute force over each weight."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3)
        ).eval()


@pytest.fixture(scope="session")
def _learned():
    data = mn.ImageData.from_arrays(
        train=blobs(600, 4, (1, 12, 12)),
        test=blobs(400, 4, (1, 12, 12), seed=1),
        class_names=["a", "b", "c", "d"],
    )
    codes = mn.MnemonicCodes.draw(data, seed=0)
    model = mn.build_model("mlp", data, seed=1)
    recipe = mn.Recipe(epochs=60, batch_size=32, learning_rate=0.02)
    mn.train(model, data, recipe=recipe, codes=codes, t_mix=0.1, progress=False)
    return model, data, codes


@pytest.fixture
def learned(_learned):
    """A network of four classes that knows its data and its codes."""
    model, data, codes = _learned
    return copy.deepcopy(model), data, codes


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def smoke_cache(shared):
    """Where networks of the smoke profile are kept: trained once in this run."""
    return shared / "cache"


@pytest.fixture
def smoke_networks(_own_cache, smoke_cache, monkeypatch):
    """For tests that only need trained networks, and look at no other file."""
    monkeypatch.setenv("MNEMONIC_CACHE", str(smoke_cache))


@pytest.fixture(scope="session")
def playground(smoke_cache):
    """The playground's network in the smoke profile, and the file that carries it."""
    path = Path(__file__).parents[1] / "book" / "_extensions" / "playground.py"
    spec = importlib.util.spec_from_file_location("playground", path)
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNEMONIC_CACHE", str(smoke_cache))
        patch.delenv("MNEMONIC_DATA", raising=False)
        model, data, codes = extension.network("smoke")
        script = extension.script("smoke")
    return SimpleNamespace(model=model, data=data, codes=codes, script=script)
