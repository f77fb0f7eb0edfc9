import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
import torchvision
from conftest import blobs, pass_for_originals
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2.functional import to_pil_image

import mnemonic as mn
from mnemonic import storage
from mnemonic.data import batches, files, originals, splits


def make(**changes):
    parts = {"train": blobs(), "test": blobs(seed=1), "class_names": ["a", "b", "c"]}
    return mn.ImageData.from_arrays(**{**parts, **changes})


def test_the_method_is_imported_without_what_only_some_data_need():
    program = (
        "import sys, mnemonic as mn; mn.ImageData, mn.load_data, mn.build_model, "
        "mn.evaluate, mn.MnemonicCodes, mn.forget; "
        "print({'torchvision', 'sklearn', 'scipy', 'mlxtend'} & {*sys.modules})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert ran.stdout == "set()\n"


def test_embedded_digits_are_split_evenly_and_always_alike():
    data = mn.load_data("mnist-5k")
    for part, each in (("train", 350), ("validation", 50), ("test", 100)):
        split = getattr(data, part)
        assert torch.bincount(split.labels).tolist() == [each] * 10
    again = mn.load_data("mnist-5k")
    assert torch.equal(data.test.pixels, again.test.pixels)
    everything = torch.cat(
        [s.pixels.flatten(1) for s in (data.train, data.validation, data.test)]
    )
    assert len(everything.unique(dim=0)) == 5000  # no image in two splits


def test_inputs_are_normalised_by_the_training_images():
    data = make()
    inputs = data.inputs(data.train)
    assert inputs.mean().abs() < 1e-5
    assert abs(inputs.std(correction=0) - 1) < 1e-5
    raw = data.images(data.test, torch.tensor([4, 2]))
    assert torch.equal(raw, data.test.pixels[[4, 2]])
    assert torch.allclose(
        data.inputs(data.test, torch.tensor([4, 2])), (raw - data.mean) / data.std
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_statistics_are_those_of_all_pixels(dtype):
    x, y = blobs(shape=(3, 6, 6))
    x = (x * 255).to(torch.uint8) if dtype == torch.uint8 else x
    data = make(train=(x, y), test=(x, y), validation=(x, y))
    unit = x.double() / 255 if dtype == torch.uint8 else x.double()
    assert torch.allclose(data.mean.double(), unit.mean((0, 2, 3)))
    assert torch.allclose(data.std.double(), unit.std((0, 2, 3), correction=0))


def test_batches_visit_each_image_once_and_shuffle_by_seed():
    data = make()

    def labels(seed):
        g = torch.Generator().manual_seed(seed)
        batches = list(data.batches(data.train, batch_size=50, generator=g))
        assert [len(y) for _, y in batches] == [50, 50, 8]
        return torch.cat([y for _, y in batches])

    assert torch.equal(labels(0), labels(0))
    assert not torch.equal(labels(0), labels(1))
    assert torch.equal(labels(0).sort()[0], data.train.labels.sort()[0])
    in_order = torch.cat([y for _, y in data.batches(data.train)])
    assert torch.equal(in_order, data.train.labels)


def test_without_keeps_the_test_split_and_the_number_of_classes():
    data = make()
    rest = data.without([1])
    assert set(rest.train.labels.tolist()) == {0, 2}
    assert set(rest.validation.labels.tolist()) == {0, 2}
    assert torch.equal(rest.test.labels, data.test.labels)
    assert rest.n_classes == 3
    with pytest.raises(ValueError, match=r"class 7 is not in 0\.\.2"):
        data.without([7])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5), st.sampled_from([(1, 8, 8), (3, 9, 16)]), st.integers(0, 2**20)
)
def test_crops_are_windows_of_the_padded_image(n, shape, seed):
    images = torch.rand(n, *shape) + 1  # 0 is the border
    g = torch.Generator().manual_seed(seed)
    out = batches.crop_and_flip(images, g)
    assert out.shape == images.shape
    pad = shape[1] // 8
    padded = torch.nn.functional.pad(images, (pad,) * 4)
    for image, cut in zip(padded, out, strict=True):
        windows = [
            image[:, top : top + shape[1], left : left + shape[2]]
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
        ]
        assert any(torch.equal(cut, w) or torch.equal(cut, w.flip(2)) for w in windows)


def test_augmentation_only_where_asked():
    data = make(augmentation="crop-flip")
    g = torch.Generator().manual_seed(0)
    plain = next(data.batches(data.train, generator=torch.Generator().manual_seed(0)))
    moved = next(data.batches(data.train, generator=g, augment=True))
    assert torch.equal(plain[1], moved[1])
    assert not torch.equal(plain[0], moved[0])


X, Y = blobs()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": (X, Y + 1)}, r"label 3 is not in 0\.\.2"),
        ({"train": (X, Y - 1)}, r"label -1 is not in 0\.\.2"),
        ({"train": (X, Y[:-1])}, "give 120 integers"),
        ({"train": (X, Y.float())}, "give 120 integers"),
        ({"train": (X.permute(0, 2, 3, 1), Y)}, "give .N, C, H, W."),
        ({"train": (X[:0], Y[:0])}, "give .N, C, H, W."),
        ({"train": (X * 255, Y)}, "give uint8, or floats"),
        ({"train": (X * torch.nan, Y)}, "nan"),
        ({"train": (X[Y != 2], Y[Y != 2])}, "train split has no image of c"),
        ({"test": (X[Y != 0], Y[Y != 0])}, "test split has no image of a"),
        ({"test": (X[:, :, :4], Y)}, "differ in shape"),
        ({"class_names": ["a"], "train": (X, Y * 0), "test": (X, Y * 0)}, "too few"),
        ({"augmentation": "blur"}, "unknown augmentation 'blur'"),
        ({"train": None}, "train is no pair of images and labels"),
        ({"train": (None, Y)}, "train is no pair"),
        ({"test": (X, ["a"] * 120)}, "test split has no image of b, c"),
        ({"test": (X, ["z"] * 120)}, "test is no pair .*z: not the name of one class"),
        ({"train": (X, Y > 0)}, "give 120 integers"),
        ({"validation": (X[Y != 1], Y[Y != 1])}, "validation split has no image of b"),
        (
            {"validation": (X[:0], Y[:0])},
            "validation images are torch.float32 of shape .0, 1, 6, 6.",
        ),
        ({"train": (X[:3], Y[:3])}, "single training image of a, b, c, and validation"),
        ({"class_names": None}, "class_names is None"),
    ],
)
def test_wrong_arrays_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_tenth_of_few_is_one():
    data = make(train=(X[:12], Y[:12]))
    assert torch.bincount(data.validation.labels).tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [0, None, "8", True, 2.0])
def test_wrong_sizes_are_refused(tmp_path, size):
    with pytest.raises(ValueError, match=r"batch_size is .*; give .* of 1 or more"):
        next(make().batches(make().train, batch_size=size))
    with pytest.raises(ValueError, match=r"image_size is .*; give .* 1 to 10000"):
        mn.ImageData.from_folder(tmp_path, image_size=size)


def test_numpy_arrays_without_a_channel_axis_will_do():
    x = (blobs()[0][:, 0] * 255).byte().numpy()
    data = make(train=(x, Y.numpy()), test=(x, Y.numpy().astype(np.uint8)))
    assert data.input_shape == (1, 6, 6)


def test_labels_may_be_of_any_kind_that_numpy_takes():
    words = np.array(["a", "b", "c"])[Y]
    for labels in (
        Y.numpy().astype(np.uint8), Y.numpy().astype(">i4"), Y.tolist(), [*Y],
        pd.Series(Y.numpy(), index=range(7, 127)), pd.Series(Y.numpy(), dtype="Int64"),
        words, [*words], pd.Series(words).iloc[::-1].iloc[::-1],
        pd.Series(words, dtype="category"), pd.Series(words, dtype=object),
    ):  # fmt: skip
        data = make(train=(X, labels), validation=(X, labels))
        assert torch.equal(data.train.labels, Y)
    for labels in (pd.DataFrame(Y.numpy()), Y.double(), [None] * 120, [b"a"] * 120):
        with pytest.raises(ValueError, match="integers"):
            make(train=(X, labels))
    with pytest.raises(ValueError, match="a, c: not the name of one class"):
        make(class_names=["a", "a", "b"], test=(X, words))


def test_images_may_lie_in_memory_as_they_like():
    x = X.numpy()
    for images in (
        x[..., ::-1].copy()[..., ::-1], x.astype(">f8"), np.asfortranarray(x), [*x],
        [*X], X.clone().requires_grad_(), x[:, 0],
    ):  # fmt: skip
        assert torch.equal(make(test=(images, Y)).test.pixels, X)
    x = x.copy()
    x.flags.writeable = False  # torch would warn
    assert torch.equal(make(test=(x, Y)).test.pixels, X)


@pytest.mark.parametrize("kind", [torch.clone, lambda x: x.numpy().copy()])
def test_what_is_given_may_be_changed_afterwards(kind):
    x, y, mean = kind(X), kind(Y), kind(torch.tensor([0.3]))
    how = {"validation": (x, y), "mean": mean, "std": 1}
    data = make(train=(x, y), test=(x, y), **how)
    x -= 0.5
    y[:] = 0
    mean[:] = 0
    assert data.mean.tolist() == pytest.approx([0.3])
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.pixels, X)
        assert torch.equal(split.labels, Y)
    for look in (data.images(data.test), data.images(data.test, slice(3))):
        look -= 0.5  # what is got, too
    assert torch.equal(data.test.pixels, X)


def test_a_pixel_may_leave_the_range_by_rounding():
    x = X.clone()
    x[0, 0, 0, :3] = torch.tensor([1.0000001, 1.0009, -1e-7])
    assert make(test=(x, Y)).test.pixels[0, 0, 0, :3].tolist() == [1, 1, 0]
    x[0, 0, 0, 0] = 1.002
    with pytest.raises(ValueError, match=r"test images range from .* to 1\.002"):
        make(test=(x, Y))


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_may_be_given(channels):
    x, y = blobs(shape=(channels, 6, 6))
    one = [0.4, 0.5, 0.6][:channels]
    for mean, std in (
        (one, [0.2] * channels), (np.array(one), 0.2),
        (torch.tensor(one)[:, None, None], np.float32(0.2)),
    ):  # fmt: skip
        data = make(train=(x, y), test=(x, y), mean=mean, std=std)
        expected = (x - torch.tensor(one)[:, None, None]) / 0.2
        assert torch.allclose(data.inputs(data.test), expected, atol=1e-6)
    plain = make(train=(x, y), test=(x, y), mean=0, std=1)
    assert torch.equal(plain.inputs(plain.test), x)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (0.5, None), (None, 0.5), (123.7, 58.4), (0.5, 0), (0.5, torch.nan), ("a", 1),
        ([0.5] * 2, 1), (1j, 1), ([], []), (-0.1, 1), (0, 255),
    ],
)  # fmt: skip
def test_mean_and_deviation_have_to_fit_pixels_up_to_one(mean, std):
    with pytest.raises(ValueError, match=r"give both, .* for pixels in \[0, 1\]"):
        make(mean=mean, std=std)


# --- classes by their names -----------------------------------------------------------

NAMED = mn.ImageData.from_arrays(
    train=blobs(seed=0), test=blobs(seed=1), class_names=["2", "10", "cat"]
)
CODES = mn.MnemonicCodes.draw(NAMED)
WITH_CLASSES = {
    "without": lambda m, c: NAMED.without(c).train.labels,
    "forget": lambda m, c: mn.forget(m, CODES, c, strength=mn.Strength(1, 1)).classes,
    "amplitude": lambda m, c: mn.amplitude(m, CODES, c),
    "evaluate": lambda m, c: mn.evaluate(m, NAMED, c).remaining_accuracy,
    "Access": lambda m, c: mn.Access(NAMED, c, CODES).classes,
    "class_losses": lambda m, c: mn.audits.class_losses(m, NAMED, c),
    "matched_losses": lambda m, c: mn.audits.matched_losses(m, NAMED, c),
    "over_unlearning": lambda m, c: mn.audits.over_unlearning(m, m, NAMED, c),
    "reading": lambda m, c: mn.audits.reading(m, CODES, c),
    "replay": lambda m, c: mn.audits.replay(m, NAMED, CODES, c, steps=1),
    "trigger": lambda m, c: mn.audits.trigger(m, NAMED, CODES, c, shares=[0.5]),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", WITH_CLASSES)
def test_a_class_may_be_named(name, tiny):
    call = WITH_CLASSES[name]
    expected = storage.digest(repr(call(tiny, [1, 2])))
    assert storage.digest(repr(call(tiny, ["cat", "10"]))) == expected
    assert storage.digest(repr(call(tiny, ["10", np.int64(2)]))) == expected
    with pytest.raises(ValueError, match=r"'dog' is not in 0\.\.2; .*2, 10, cat"):
        call(tiny, ["dog"])
    with pytest.raises(ValueError, match="repeat one"):
        call(tiny, ["10", 1])


def test_a_name_of_two_classes_names_none():
    data = make(class_names=["crane", "crane", "cat"])
    assert data.without(["cat"]).train.labels.unique().tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"'crane' is not in 0\.\.2"):
        data.without(["crane"])


# --- files -------------------------------------------------------------------------


def write_folder(root: Path, layout: dict[str, dict[str, int]], size=(12, 10)) -> Path:
    for part, classes in layout.items():
        for c, (name, n) in enumerate(classes.items()):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                image = torch.full((3, *size), 40 * c + i, dtype=torch.uint8)
                to_pil_image(image).save(folder / f"{i}.png")
    return root


def test_image_folder_in_memory_and_from_files(tmp_path, monkeypatch):
    root = write_folder(
        tmp_path, {"train": {"x": 10, "y": 10}, "val": {"x": 2, "y": 2}}
    )
    held = mn.ImageData.from_folder(root, image_size=8)
    assert isinstance(held.train, splits.ArraySplit)
    assert held.input_shape == (3, 8, 8)
    assert held.class_names == ("x", "y")
    monkeypatch.setattr(splits, "IN_MEMORY_LIMIT", 0)
    lazy = mn.ImageData.from_folder(root, image_size=8)
    assert isinstance(lazy.train, splits.FileSplit)
    assert lazy.input_shape == (3, 8, 8)
    assert lazy.to("cpu").train is lazy.train
    assert torch.equal(lazy.images(lazy.test), held.images(held.test))
    assert torch.allclose(lazy.mean, held.mean)
    assert torch.allclose(lazy.std, held.std)

    def passed(data):
        g = torch.Generator().manual_seed(0)
        return list(data.batches(data.train, batch_size=4, generator=g))

    assert sorted(torch.cat([y for _, y in passed(lazy)]).tolist()) == [0] * 9 + [1] * 9
    for one, two in zip(passed(lazy), passed(held), strict=True):
        assert torch.allclose(one[0], two[0], atol=1e-5)
        assert torch.equal(one[1], two[1])
    assert set(lazy.without([0]).train.labels.tolist()) == {1}
    lazy = mn.ImageData.from_folder(root, image_size=8, mean=[0.1, 0.2, 0.3], std=0.5)
    assert lazy.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_files_are_read_without_new_processes(tmp_path, monkeypatch):
    root = write_folder(
        tmp_path, {"train": {"x": 60, "y": 60}, "test": {"x": 2, "y": 2}}
    )
    monkeypatch.setattr(splits, "IN_MEMORY_LIMIT", 0)
    data = mn.ImageData.from_folder(root, image_size=8)
    threads = set()
    read = files.read_image
    monkeypatch.setattr(
        files, "read_image", lambda *a: threads.add(threading.get_ident()) or read(*a)
    )
    monkeypatch.setattr(os, "fork", None)
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert sum(len(y) for _, y in data.batches(data.train, batch_size=9)) == 108
    finally:
        torch.set_num_threads(torch_threads)
    assert len(threads) > 1
    next(data.batches(data.train, batch_size=9))  # the rest is not wanted


def test_network_trains_from_files(tmp_path, monkeypatch):
    root = write_folder(
        tmp_path, {"train": {"x": 10, "y": 10}, "test": {"x": 2, "y": 2}}
    )
    monkeypatch.setattr(splits, "IN_MEMORY_LIMIT", 0)
    data = mn.ImageData.from_folder(root, image_size=8)
    model = mn.build_model("mlp", data)
    recipe = mn.Recipe(epochs=5, batch_size=4)
    first = mn.trained(model, data, recipe=recipe, progress=False)
    again = mn.trained(mn.build_model("mlp", data), data, recipe=recipe, progress=False)
    assert torch.equal(first[1].weight, again[1].weight)


def test_folder_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="found nothing there"):
        mn.ImageData.from_folder(tmp_path / "nowhere")
    root = write_folder(
        tmp_path / "a", {"train": {"x": 2, "y": 2}, "test": {"x": 1, "z": 1}}
    )
    with pytest.raises(ValueError, match=r"classes that train lacks: \['z'\]"):
        mn.ImageData.from_folder(root)
    root = write_folder(
        tmp_path / "b", {"train": {"x": 2, "y": 2}, "test": {"x": 1, "y": 1}}
    )
    (root / "train" / "x" / "0.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="cannot read the image"):
        mn.ImageData.from_folder(root, image_size=8)


def test_a_file_in_place_of_a_folder_and_single_images_are_named(tmp_path, monkeypatch):
    layout = {"train": {"x": 2, "y": 2, "z": 1}, "test": {"x": 1, "y": 1, "z": 1}}
    root = write_folder(tmp_path / "a", layout)
    with pytest.raises(ValueError, match="single training image of z, and validation"):
        mn.ImageData.from_folder(root, image_size=8)
    write_folder(root, {"val": {"x": 1, "y": 1, "z": 1}})
    assert len(mn.ImageData.from_folder(root, image_size=8).train) == 5
    (root / "train" / "w").mkdir()
    with pytest.raises(ValueError, match="train split has no image of w"):
        mn.ImageData.from_folder(root, image_size=8)
    for part in ("val", "test", "train"):
        shutil.rmtree(root / part)
        (root / part).write_text("0.png x", encoding="utf-8")
        with pytest.raises(ValueError, match=rf"{part} is a file; give a folder"):
            mn.ImageData.from_folder(root, image_size=8)
    with pytest.raises(ValueError, match=r"val needs train/.* found a file there"):
        mn.ImageData.from_folder(root / "val")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    write_folder(
        tmp_path / "home" / "p", {"train": {"x": 2, "y": 2}, "val": {"x": 1, "y": 1}}
    )
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CACHE", "DATA", "RESULTS"):
        monkeypatch.setenv(f"MNEMONIC_{name}", f"~/{name}")
    data = mn.ImageData.from_folder("~/p", image_size=8)
    codes = mn.MnemonicCodes.draw(data)
    codes.save(Path("~/codes.safetensors"))
    assert torch.equal(
        mn.MnemonicCodes.load("~/codes.safetensors").images, codes.images
    )
    mn.trained(
        mn.build_model("mlp", data), data, recipe=mn.Recipe(epochs=1), progress=False
    )
    with pytest.raises(FileNotFoundError, match=f"in {tmp_path}/home/DATA"):
        mn.load_data("mnist")
    with pytest.raises(FileNotFoundError, match=f"in {tmp_path}/home/other"):
        mn.load_data("mnist", root="~/other")
    assert mn.results.results_folder() == tmp_path / "home" / "RESULTS"
    assert (tmp_path / "home" / "CACHE" / "checkpoints").is_dir()
    assert not os.listdir()


# --- named sets, as tiny folders in the original layouts ------------------------------


def write_idx(folder: Path, prefix: str, n=20, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(n * 28 * 28, dtype=np.uint8).tobytes()
    labels = (np.arange(n) % 10).astype(np.uint8).tobytes()
    for name, header, body in (
        ("images-idx3", struct.pack(">BBBBiii", 0, 0, 8, 3, n, 28, 28), pixels),
        ("labels-idx1", struct.pack(">BBBBi", 0, 0, 8, 1, n), labels),
    ):
        path = folder / f"{prefix}-{name}-ubyte"
        if compress:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(header + body))
        else:
            path.write_bytes(header + body)


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
@pytest.mark.parametrize("compress", [False, True])
def test_idx_sets(tmp_path, monkeypatch, name, folder, compress):
    raw = tmp_path / folder / "raw"
    write_idx(raw, "train", 200, compress)
    write_idx(raw, "t10k", 20, compress)
    pass_for_originals(monkeypatch, name, raw.iterdir())
    monkeypatch.setenv("MNEMONIC_DATA", str(tmp_path))
    data = mn.load_data(name)
    assert (len(data.train), len(data.test)) == (180, 20)
    assert data.test.labels.tolist() == list(range(10)) * 2
    assert data.test.pixels[0, 0, 1, 2] == 30
    assert mn.is_here(name)


def test_missing_and_other_idx_files(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw, "train", 200)
    with pytest.raises(FileNotFoundError, match=r"t10k-images.*download=True"):
        mn.load_data("mnist", root=tmp_path)
    assert not mn.is_here("mnist")
    write_idx(raw, "t10k", 20)
    with pytest.raises(ValueError, match=r"train-images\S+ is not the original"):
        mn.load_data("mnist", root=tmp_path)
    pass_for_originals(monkeypatch, "mnist", raw.iterdir())
    mn.load_data("mnist", root=tmp_path)
    for path in raw.iterdir():
        whole = path.read_bytes()
        other = whole[:-1] + bytes([whole[-1] ^ 1])
        for damage in (other, whole[:-1], whole[:7], b"", b"<html>" + whole[6:]):
            path.write_bytes(damage)
            with pytest.raises(ValueError, match=f"{path.name} is not the original"):
                mn.load_data("mnist", root=tmp_path)
        path.write_bytes(whole)
    for path in list(raw.iterdir()):
        path.unlink()
    write_idx(raw, "train", 200, compress=True)
    path = raw / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:40])
    write_idx(raw, "t10k", 20)
    with pytest.raises(ValueError, match=r"idx3-ubyte.gz cannot be read .*again"):
        mn.load_data("mnist", root=tmp_path)


def test_whatever_is_one_file_has_a_hash():
    for name, hashes in originals.SHA256.items():
        assert name in (*mn.DATA_SETS, "omniglot-small")
        for digest in hashes.values():
            assert re.fullmatch("[0-9a-f]{64}", digest)
    assert len({d for f in originals.SHA256.values() for d in f.values()}) == 20


def test_unknown_and_absent_sets_say_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown data set 'cifar11'; choose one of"):
        mn.load_data("cifar11")
    with pytest.raises(ValueError, match=r"unknown data set \[\]"):
        mn.load_data([])
    monkeypatch.setattr("mnemonic.data.sources.DEBIAN_FASHION", tmp_path)
    for name in mn.DATA_SETS:
        if name == "mnist-5k":
            continue
        with pytest.raises(FileNotFoundError, match=f"{name} is not here.*Get it by"):
            mn.load_data(name, root=tmp_path)


def test_archive_is_read_without_unpacking(tmp_path, monkeypatch):
    source = tmp_path / "source" / "cifar10-jpeg"
    for part, n in (("train", 10), ("test", 1)):
        for c, name in enumerate(("cat", "dog")):
            folder = source / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                image = torch.full((3, 32, 32), 100 * c, dtype=torch.uint8)
                to_pil_image(image).save(folder / f"{i}.jpg")
    path = tmp_path / "cifar10-jpeg.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        archive.add(source, "cifar10-jpeg")
    pass_for_originals(monkeypatch, "cifar10-jpeg", [path])
    data = mn.load_data("cifar10-jpeg", root=tmp_path)
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 2)
    assert data.test.pixels[1].float().mean() == pytest.approx(100, abs=2)
    assert data.augmentation == "crop-flip"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"jpeg\.tar\.xz is not the original"):
        mn.load_data("cifar10-jpeg", root=tmp_path)


def test_cub_by_its_split_file(tmp_path):
    root = tmp_path / "CUB_200_2011"
    rows = [(i, 1 + i % 45, int(i // 45 % 3 > 0)) for i in range(270)]
    write_folder(
        root / "images",
        {f"{c:03}.Bird": {"": 0} for c in range(1, 46)},
    )
    names = {i: f"{c:03}.Bird/{i}.png" for i, c, _ in rows}
    black = to_pil_image(torch.zeros(3, 8, 8, dtype=torch.uint8))
    for file in names.values():
        black.save(root / "images" / file)
    tables = {
        "images": names,
        "image_class_labels": {i: c for i, c, _ in rows},
        "train_test_split": {i: t for i, _, t in rows},
        "classes": {c: f"{c:03}.Bird" for c in range(1, 46)},
    }
    for file, table in tables.items():
        lines = "\n".join(f"{k} {v}" for k, v in table.items())
        (root / f"{file}.txt").write_text(lines, encoding="utf-8")
    data = mn.load_data("cub", root=tmp_path)
    assert data.n_classes == 40
    trained = sum(t for _, c, t in rows if c <= 40)
    assert len(data.train) + len(data.validation) == trained
    assert len(data.test) == 240 - trained
    for file, old, new, message in (
        ("image_class_labels", "0 1\n", "0 0\n", r"label -1 is not in 0\.\.39"),
        ("image_class_labels", "0 1\n", "", "missing or damaged .'0'."),
        ("image_class_labels", "0 1\n", "0 one\n", "missing or damaged .*'one'"),
        ("images", "0 001.Bird/0.png\n", "", "missing or damaged .'0'."),
        ("images", "0 001.Bird/0.png\n", "0\n", "missing or damaged"),
        ("train_test_split", "0 0\n", "0 2\n", "missing or damaged .'2'."),
        ("classes", "1 001.Bird\n", "", "missing or damaged .'1'."),
    ):
        path = root / f"{file}.txt"
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            mn.load_data("cub", root=tmp_path)
        path.write_text(whole, encoding="utf-8")


def test_stanford_cars_through_torchvision(tmp_path):
    root = tmp_path / "stanford_cars"
    black = to_pil_image(torch.zeros(3, 8, 8, dtype=torch.uint8))
    classes = np.array([f"car {c}" for c in range(60)], dtype=object)
    for folder in ("devkit", "cars_train", "cars_test"):
        (root / folder).mkdir(parents=True)
    scipy.io.savemat(root / "devkit" / "cars_meta.mat", {"class_names": classes})
    for part, path in (
        ("train", root / "devkit" / "cars_train_annos.mat"),
        ("test", root / "cars_test_annos_withlabels.mat"),
    ):
        rows = [(f"{i}.png", i % 60 + 1) for i in range(120)]
        annotations = np.array(rows, dtype=[("fname", "O"), ("class", "O")])
        scipy.io.savemat(path, {"annotations": annotations})
        for file, _ in rows:
            black.save(root / f"cars_{part}" / file)
    data = mn.load_data("stanford-cars", root=tmp_path)
    assert data.n_classes == 49
    assert len(data.test) == 98


def test_imagenet_through_torchvision(tmp_path):
    write_folder(tmp_path, {"train": {"n01": 3, "n02": 3}, "val": {"n01": 1, "n02": 1}})
    meta = ({"n01": ("tench", "Tinca"), "n02": ("goldfish",)}, ["n01", "n02"])
    torch.save(meta, tmp_path / "meta.bin")
    data = mn.load_data("imagenet", root=tmp_path)
    assert data.class_names == ("tench", "goldfish")
    assert data.input_shape == (3, 224, 224)


def test_cifar10_is_read_from_its_binary_version(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i, name in enumerate(originals.CIFAR10_FILES):
        rows = [[c, *([i] * 1024 + [c] * 1024 + [7] * 1024)] for c in range(10)] * 2
        (folder / name).write_bytes(bytes(byte for row in rows for byte in row))
    with pytest.raises(ValueError, match=r"data_batch_1\.bin is not the original"):
        mn.load_data("cifar10", root=tmp_path)
    pass_for_originals(monkeypatch, "cifar10", list(folder.iterdir()))
    data = mn.load_data("cifar10", root=tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    assert data.test.labels.tolist() == list(range(10)) * 2
    assert data.class_names[8] == "ship"
    image = data.test.pixels[4]
    assert [plane.unique().tolist() for plane in image] == [[5], [4], [7]]
    assert sorted(data.train.pixels[:, 0, 0, 0].unique().tolist()) == [0, 1, 2, 3, 4]


def test_cifar10_refuses_files_that_torchvision_does_not_know(tmp_path):
    folder = tmp_path / torchvision.datasets.CIFAR10.base_folder
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"a pickle that must never be opened")
    with pytest.raises(FileNotFoundError, match="cifar10 is not here"):
        mn.load_data("cifar10", root=tmp_path)
