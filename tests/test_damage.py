"""Whatever is read back may be damaged, in every place and in every way we know of.

Allowed are: the right result; a warning that names the file, which is set aside and
made again; or an error that names it. A wrong result is allowed nowhere but where a
format has no checksum: a reader's own images.
"""

import gzip
import json
import os
import pickle
import resource
import shutil
import struct
import tarfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import pass_for_originals
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import mnemonic as mn
from mnemonic import storage
from mnemonic.data.files import read_image
from mnemonic.lab import results, settings
from mnemonic.press import executed as execution
from mnemonic.press import publish

# Kinds of damage: each is given the file and another good one of its kind.


def flipped(place):
    def damage(content, other):
        changed = bytearray(content)
        changed[int(place * (len(changed) - 1))] ^= 4
        return bytes(changed)

    return damage


def swapped(content, other):
    half = len(content) // 2
    return content[half:] + content[:half]


def rewritten(content, other):
    return np.random.default_rng(0).bytes(len(content))


def older(content, other):
    """From before there were hashes, or another version of the format."""
    for now, before in ((b"sha256", b"sha000"), (b'"content"', b'"oldname"')):
        content = content.replace(now, before)
    return content.replace(b"\0\0\x08", b"\0\0\x0d", 1)


KINDS = {
    "empty": lambda content, other: b"",
    "one byte": lambda content, other: content[:1],
    "cut in half": lambda content, other: content[: len(content) // 2],
    "last byte lost": lambda content, other: content[:-1],
    "first byte lost": lambda content, other: content[1:],
    "first bit flipped": flipped(0),
    "bit flipped early": flipped(0.1),
    "bit flipped in the middle": flipped(0.5),
    "bit flipped late": flipped(0.9),
    "last bit flipped": flipped(1),
    "zeros": lambda content, other: bytes(len(content)),
    "second half zeros": lambda content, other: (
        content[: len(content) // 2] + bytes(len(content) - len(content) // 2)
    ),
    "random bytes": rewritten,
    "halves swapped": swapped,
    "something appended": lambda content, other: content + b"more",
    "twice": lambda content, other: content + content,
    "compressed": lambda content, other: gzip.compress(content),
    "as UTF-16": lambda content, other: content.decode("latin-1").encode("utf-16"),
    "a web page": lambda content, other: b"<!doctype html><p>404 Not Found</p>",
    "a pickle": lambda content, other: pickle.dumps({"rows": [1]}),
    "JSON null": lambda content, other: b"null",
    "JSON list": lambda content, other: b"[1, 2]",
    "JSON object": lambda content, other: b"{}",
    "JSON without end": lambda content, other: b"[" * 100_000,
    "an older version": older,
    "another of its kind": lambda content, other: other,
}
LINKS = ("a folder", "a link to nothing", "a link to itself")


@dataclass
class Place:
    """Where something is read back: its file, another one, and how it is read."""

    path: Path
    other: bytes
    read: callable
    whole: bool = True  # whether any change is noticed


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Linear(5, 3))


def checkpoint(tmp, data, codes, monkeypatch):
    def read(seed=0):
        recipe = mn.Recipe(epochs=1)
        model = mn.trained(network(), data, recipe=recipe, seed=seed, progress=False)
        return [p.tolist() for p in model.parameters()]

    folder = storage.cache_folder() / "checkpoints"
    read(1)
    (other,) = folder.glob("*.safetensors")
    read()
    (path,) = set(folder.glob("*.safetensors")) - {other}
    return Place(path, other.read_bytes(), read)


def code_file(tmp, data, codes, monkeypatch):
    path, other = tmp / "codes.safetensors", tmp / "other.safetensors"
    codes.save(path)
    save_file({"weight": torch.zeros(3, 1, 6, 6)}, other)

    def read():
        found = mn.MnemonicCodes.load(path)
        return found.images.tolist(), found.class_names, found.seed

    return Place(path, other.read_bytes(), read)


def ninths(seed):
    return [{"v": seed + i / 9, "none": float("nan")} for i in range(3)]


def grid_cell(tmp, data, codes, monkeypatch):
    def read(seeds=(0,)):
        return repr(mn.run_grid(ninths, [{}], seeds, jobs=1).to_dict("records"))

    folder = storage.cache_folder() / "cells"
    read((1,))
    (other,) = folder.glob("*.json")
    read()
    (path,) = set(folder.glob("*.json")) - {other}
    return Place(path, other.read_bytes(), read)


def record(ending):
    def make(tmp, data, codes, monkeypatch):
        monkeypatch.setenv("MNEMONIC_RESULTS", str(tmp / "results"))
        for name, values in (("other", [3.0]), ("run", [1.5, 2.5])):
            frame = pd.DataFrame({"v": values})
            results.record(name, frame, about="a test", seconds=1)
        path = tmp / "results" / f"run.{ending}"

        def read():
            frame, facts = results.recorded("run")
            return frame.to_dict("records"), facts["name"]

        return Place(path, path.with_stem("other").read_bytes(), read)

    return make


def executed(tmp, data, codes, monkeypatch):
    repository = tmp / "repository"
    notebook = repository / "notebooks" / "01_one.ipynb"
    notebook.parent.mkdir(parents=True)
    (repository / "mnemonic").mkdir()
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "source": ["1 + 1"]}
    content = {"cells": [{**cell, "execution_count": None}], "metadata": {}}
    notebook.write_text(json.dumps(content), encoding="utf-8")

    def execute(notebook, aside, root, profile):
        content["cells"][0]["execution_count"] = 1
        shown = {"output_type": "stream", "name": "stdout", "text": ["3.14" * 200]}
        content["cells"][0]["outputs"] = [shown]
        aside.write_text(json.dumps(content), encoding="utf-8")

    monkeypatch.setattr(execution, "_papermill", execute)
    monkeypatch.setattr(execution, "key_of", lambda *_: "key")
    path = repository / "_build" / "executed" / "smoke" / "01_one.ipynb"

    def read():
        call = ["--profile", "smoke", "--root", str(repository), "--no-render"]
        assert publish.main(call) == 0
        return json.loads(path.read_text(encoding="utf-8"))["cells"]

    read()
    return Place(path, notebook.read_bytes(), read)


def tuned(tmp, data, codes, monkeypatch):
    shutil.copy(settings.TUNED / "quick.json", tmp)
    monkeypatch.setattr(settings, "TUNED", tmp)
    path = tmp / "quick.json"
    return Place(path, b'{"about": {}}', lambda: settings.settings_for(path.stem))


def idx(ending):
    def make(tmp, data, codes, monkeypatch):
        folder = tmp / "MNIST" / "raw"
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(256, size=(20, 28, 28), dtype="u1")
        images = struct.pack(">BBBBiii", 0, 0, 8, 3, 20, 28, 28) + pixels.tobytes()
        labels = struct.pack(">BBBBi", 0, 0, 8, 1, 20) + bytes(range(10)) * 2
        if ending == ".gz":
            images, labels = gzip.compress(images), gzip.compress(labels)
        for part in ("train", "t10k"):
            (folder / f"{part}-images-idx3-ubyte{ending}").write_bytes(images)
            (folder / f"{part}-labels-idx1-ubyte{ending}").write_bytes(labels)

        def read():
            return mn.load_data("mnist", root=tmp).test.pixels.tolist()

        path = folder / f"t10k-images-idx3-ubyte{ending}"
        pass_for_originals(monkeypatch, "mnist", folder.iterdir())
        return Place(path, labels, read)

    return make


def picture(ending):
    def make(tmp, data, codes, monkeypatch):
        pixels = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
        path, other = tmp / f"a.{ending}", tmp / f"b.{ending}"
        for file, values in ((path, pixels), (other, pixels[::-1])):
            Image.fromarray(values).save(file)
        read = lambda: read_image(path, 8).tolist()  # noqa: E731
        return Place(path, other.read_bytes(), read, whole=False)

    return make


def archive(tmp, data, codes, monkeypatch):
    source = tmp / "cifar10-jpeg"
    for part, n in (("train", 2), ("test", 1)):
        for name in ("cat", "dog"):
            (source / part / name).mkdir(parents=True)
            for i in range(n):
                image = np.full((8, 8, 3), 99 * i, dtype=np.uint8)
                Image.fromarray(image).save(source / part / name / f"{i}.jpg")
    path = tmp / "cifar10-jpeg.tar.xz"
    other = tmp / "other.tar.xz"
    for file, name in ((path, source.name), (other, "something-else/deeper")):
        with tarfile.open(file, "w:xz") as packed:
            packed.add(source, name)

    pass_for_originals(monkeypatch, "cifar10-jpeg", [path])

    def read():
        return mn.load_data("cifar10-jpeg", root=tmp).train.pixels.tolist()

    return Place(path, other.read_bytes(), read)


PLACES = {
    "checkpoint": checkpoint,
    "codes": code_file,
    "grid cell": grid_cell,
    "record, CSV": record("csv"),
    "record, JSON": record("json"),
    "executed notebook": executed,
    "tuned settings": tuned,
    "IDX file": idx(""),
    "IDX file, compressed": idx(".gz"),
    "image, PNG": picture("png"),
    "image, JPEG": picture("jpg"),
    "archive of images": archive,
}


def spoil(place, kind):
    if kind not in LINKS:
        place.path.write_bytes(KINDS[kind](place.path.read_bytes(), place.other))
        return
    place.path.unlink()
    if kind == "a folder":
        place.path.mkdir()
        (place.path / "file").write_text("of somebody", encoding="utf-8")
    else:
        target = place.path if kind == "a link to itself" else place.path.parent / "x"
        place.path.symlink_to(target)


def names(place, text):
    return place.path.name in text or place.path.name.rpartition(".")[0] in text


def attempt(place):
    """What was read, what was said, and what was raised."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            return place.read(), said, None
        except Exception as error:
            return None, said, error


EVERY_DAY = {"cut in half", "bit flipped in the middle", "another of its kind"}
EVERY_DAY |= {"a folder"}
at_night = pytest.mark.soak(why="four kinds of damage are done here")
kinds = [
    kind if kind in EVERY_DAY else pytest.param(kind, marks=at_night)
    for kind in (*KINDS, *LINKS)
]


@pytest.mark.parametrize("kind", kinds)
@pytest.mark.parametrize("name", PLACES)
def test_damage_is_noticed(
    name, kind, tmp_path, data, codes, monkeypatch, record_property
):
    record_property("place", name)
    record_property("kind", kind)
    place = PLACES[name](tmp_path, data, codes, monkeypatch)
    good = place.read()
    spoil(place, kind)
    found, said, error = attempt(place)
    if error is not None:
        assert type(error) in (ValueError, FileNotFoundError)
        assert names(place, str(error))
        assert not said
        record_property("outcome", "refused")
        return
    if found != good:
        assert not place.whole, "a wrong result"
        assert not said
        record_property("outcome", "not noticed")
        return
    if not said:  # it still says the same, or it was gone
        record_property("outcome", "no harm")
        return
    (warning,) = said
    assert warning.category is RuntimeWarning
    assert names(place, str(warning.message))
    assert "will be made again" in str(warning.message)
    assert place.path.with_name(f"{place.path.name}.damaged").exists()
    record_property("outcome", "made again")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert place.read() == good  # and this time from the file


def test_damage_twice_in_one_place(tmp_path, data, codes, monkeypatch):
    place = PLACES["grid cell"](tmp_path, data, codes, monkeypatch)
    good = place.read()
    for kind in ("a folder", "empty", "a folder", "a pickle", "empty"):
        spoil(place, kind)
        with pytest.warns(RuntimeWarning, match="will be made again"):
            assert place.read() == good


# No room, no permission.


def written(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def save_codes(codes):
    codes.save(storage.cache_folder() / "codes.safetensors")


def train_one(codes):
    x = torch.rand(20, 1, 6, 6)
    pair = (x, torch.arange(20) % 2)
    data = mn.ImageData.from_arrays(train=pair, test=pair, class_names=["a", "b"])
    mn.trained(mn.build_model("mlp", data), data, recipe=mn.Recipe(epochs=1),
               progress=False)  # fmt: skip


def run_cells(codes):
    mn.run_grid(ninths, [{}], seeds=[0], jobs=1)


def keep_record(codes):
    frame = pd.DataFrame({"v": range(1000)})
    results.record("run", frame, about="", seconds=1)


WRITERS = [save_codes, train_one, run_cells, keep_record]


@pytest.mark.parametrize("write", WRITERS)
def test_full_disk(write, codes, monkeypatch):
    cache = storage.cache_folder()
    monkeypatch.setenv("MNEMONIC_RESULTS", str(cache))
    cache.mkdir()
    # A file may grow to so many bytes and no further, as on a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*nothing is left half"):
            write(codes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert written(cache) == []
    write(codes)
    assert written(cache)


@pytest.mark.parametrize("write", WRITERS)
def test_cache_folder_that_cannot_be_written(write, codes, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for folder in (tmp_path / "file", "/proc/nothing"):  # root may write all others
        monkeypatch.setenv("MNEMONIC_CACHE", str(folder))
        monkeypatch.setenv("MNEMONIC_RESULTS", str(folder))
        with pytest.raises(OSError, match=r"cannot (write|be written).*MNEMONIC_CACHE"):
            write(codes)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


def test_folder_is_tried_before_the_work_is_done(monkeypatch, tmp_path):
    done = []

    def work(seed):
        done.append(seed)
        return {"v": 1}

    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("MNEMONIC_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="MNEMONIC_CACHE"):
        mn.run_grid(work, [{}], seeds=[0], jobs=1)
    assert not done


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("name", ["checkpoint", "grid cell", "codes", "record, CSV"])
def test_files_without_permission(name, tmp_path, data, codes, monkeypatch):
    place = PLACES[name](tmp_path, data, codes, monkeypatch)
    place.path.chmod(0)
    _, said, error = attempt(place)
    assert names(place, str(said[0].message if said else error))
    assert error is None or type(error) is ValueError


@pytest.mark.parametrize("name", PLACES)
def test_files_that_are_read_only_are_read(name, tmp_path, data, codes, monkeypatch):
    place = PLACES[name](tmp_path, data, codes, monkeypatch)
    good, content = place.read(), place.path.read_bytes()
    place.path.chmod(0o444)
    assert place.read() == good
    assert place.path.read_bytes() == content


def test_build_on_a_full_disk(tmp_path, data, codes, monkeypatch, capsys):
    place = PLACES["executed notebook"](tmp_path, data, codes, monkeypatch)
    repository = tmp_path / "repository"
    shutil.rmtree(repository / "_build")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execution, "_finished", full)
    call = ["--profile", "smoke", "--root", str(repository), "--no-render"]
    assert publish.main(call) == 1
    said = capsys.readouterr().err
    assert str(repository / "_build") in said
    assert "No space left on device" in said
    assert written(repository / "_build") == []
    monkeypatch.undo()
    assert place.path.parent.is_dir()


@pytest.mark.parametrize("name", ["_config.yml", "_toc.yml"])
@pytest.mark.parametrize(
    "content",
    [b"format: [jb-\0", b"title: 'cut sh", b"", b"- a\n- b\n", b"\xff\xfe\0\x01", None],
    ids=["nul", "cut", "empty", "list", "binary", "missing"],
)
def test_damaged_config_stops_the_render(name, content, tmp_path, capsys):
    root = Path(__file__).parents[1]
    shutil.copy(root / "_config.yml", tmp_path)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\n", encoding="utf-8"
    )
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "intro.md").write_text("# Intro", encoding="utf-8")
    build = tmp_path / "_build"
    (build / "executed" / "smoke").mkdir(parents=True)
    (build / "executed" / "smoke" / "a.ipynb").write_text(
        '{"cells": []}', encoding="utf-8"
    )
    assert not publish.render(tmp_path, build, "smoke")
    said = capsys.readouterr().err
    assert "the render failed" in said
    assert str(tmp_path / name) in said
    assert not (build / "html").exists()
