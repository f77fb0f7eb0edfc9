"""Folders as people have them, against what each picture was made from.

Folders are made at random: formats and modes, deeper folders, links and loops, odd
names, leavings of systems, other files, and sometimes one thing that is wrong. What has
to come out is computed from the numbers that went in, by other means than Pillow's.
"""

import itertools
import os
import shutil
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

import mnemonic as mn
from mnemonic.data import splits
from mnemonic.data.files import class_folders, read_image

SIDE = 16
FOLDERS = int(os.environ.get("MNEMONIC_FOLDERS", "10"))  # many in make soak

# --- pictures: what is written, and what has to be seen -------------------------------


def noise(rng, *channels):
    return rng.integers(256, size=(SIDE, SIDE, *channels), dtype=np.uint8)


def quarters(rng, *channels):
    """Four flat squares, which survive a lossy format."""
    few = rng.integers(256, size=(2, 2, *channels), dtype=np.uint8)
    return few.repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)


def gray(levels):
    return np.repeat(np.asarray(levels, np.float64)[..., None], 3, 2)


def on_white(colours, alpha):
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def rgb(rng):
    a = noise(rng, 3)
    return Image.fromarray(a), a, {}


def flat(rng):
    a = quarters(rng, 3)
    return Image.fromarray(a), a, {"subsampling": 0}


def smooth(rng):
    a = rng.integers(60, 120, size=3) + 6 * np.arange(SIDE)[:, None, None]
    a = np.broadcast_to(a, (SIDE, SIDE, 3)).astype(np.uint8)
    return Image.fromarray(a), a, {}


def levels(rng):
    a = noise(rng)
    return Image.fromarray(a), gray(a), {}


def flat_levels(rng):
    a = quarters(rng)
    return Image.fromarray(a), gray(a), {}


def one_bit(rng):
    a = noise(rng) > 127
    return Image.fromarray(a), gray(255 * a), {}


def palette(rng, size=256):
    colours = noise(rng, 3).reshape(-1, 3)[:size]
    index = noise(rng) // (256 // size)
    made = Image.fromarray(index, "L")
    made.putpalette(colours.tobytes())
    return made, colours[index], {}


def palette_with_holes(rng):
    made, seen, _ = palette(rng, 64)
    alpha = rng.integers(256, size=64, dtype=np.uint8)
    return made, on_white(seen, alpha[np.array(made)]), {"transparency": bytes(alpha)}


def palette_with_a_hole(rng):
    made, seen, _ = palette(rng, 16)
    hole = int(rng.integers(16))
    alpha = np.where(np.array(made) == hole, 0, 255)
    return made, on_white(seen, alpha), {"transparency": hole}


def colour_with_a_hole(rng):
    a = quarters(rng, 3)
    alpha = np.where((a == a[0, 0]).all(2), 0, 255)
    hole = tuple(int(v) for v in a[0, 0])
    return Image.fromarray(a), on_white(a, alpha), {"transparency": hole}


def level_with_a_hole(rng):
    a = noise(rng) // 64 * 64
    hole = {"transparency": int(a[0, 0])}
    return Image.fromarray(a), on_white(gray(a), np.where(a == a[0, 0], 0, 255)), hole


def rgba(rng):
    a = noise(rng, 4)
    return Image.fromarray(a), on_white(a[..., :3], a[..., 3]), {}


def la(rng):
    a = noise(rng, 2)
    made = Image.merge("LA", [Image.fromarray(a[..., i].copy()) for i in (0, 1)])
    return made, on_white(gray(a[..., 0]), a[..., 1]), {}


def cmyk(rng):
    a = quarters(rng, 4)
    seen = (255.0 - a[..., :3]) * (255.0 - a[..., 3:]) / 255
    return Image.fromarray(a, "CMYK"), seen, {}


def ycbcr(rng):
    a = 64 + quarters(rng, 3) // 2
    y, b, r = (a[..., i] - (128.0 if i else 0.0) for i in range(3))
    seen = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], 2)
    return Image.fromarray(a, "YCbCr"), seen.clip(0, 255), {}


def sixteen(rng):
    a = rng.integers(65536, size=(SIDE, SIDE)).astype(np.uint16)
    return Image.fromarray(a), gray(a / 257), {}


def dark_sixteen(rng):
    a = rng.integers(4096, size=(SIDE, SIDE)).astype(np.uint16)
    return Image.fromarray(a), gray(a / 257), {}


def thirty_two(most, scale):
    def integers(rng):
        a = rng.integers(most // 2, most + 1, size=(SIDE, SIDE)).astype(np.int32)
        return Image.fromarray(a), gray(a * (255 / scale)), {}

    return integers


def beyond(rng):
    a = rng.integers(-(2**30), 2**30, size=(SIDE, SIDE)).astype(np.int32)
    low, high = int(a.min()), int(a.max())
    return Image.fromarray(a), gray((a.astype(float) - low) / (high - low) * 255), {}


def floats(most, scale):
    def numbers(rng):
        a = (most * rng.uniform(0.5, 1, (SIDE, SIDE))).astype(np.float32)
        return Image.fromarray(a), gray(a * (255 / scale)), {}

    return numbers


def any_floats(rng):
    a = (100 * rng.normal(size=(SIDE, SIDE)) - 30).astype(np.float32)
    a[3, 3] = np.nan
    low, high = np.nanmin(a), np.nanmax(a)
    return Image.fromarray(a), gray(np.nan_to_num((a - low) / (high - low) * 255)), {}


def frames(rng):
    first, second = palette(rng, 8), palette(rng, 8)
    return first[0], first[1], {"save_all": True, "append_images": [second[0]]}


EXACT, ROUND, LOSSY = 0.51, 2.0, 12.0
ANY = [
    "png",
    "bmp",
    "dib",
    "tif",
    "tiff",
    "ppm",
    "pnm",
    "tga",
    "pcx",
    "jp2",
    "sgi",
    "webp",
]
KINDS = [  # what is made, endings, format where the ending tells another, tolerance
    (rgb, ANY, None, EXACT),
    (
        levels,
        ["png", "apng", "bmp", "tif", "pgm", "pnm", "tga", "pcx", "sgi", "jp2"],
        None,
        EXACT,
    ),
    (one_bit, ["png", "bmp", "tif", "pbm", "msp", "xbm", "pcx"], None, EXACT),
    (palette, ["png", "bmp", "tif", "gif", "tga", "pcx"], None, EXACT),
    (palette_with_holes, ["png"], None, ROUND),
    (palette_with_a_hole, ["png", "gif"], None, ROUND),
    (colour_with_a_hole, ["png"], None, EXACT),
    (level_with_a_hole, ["png"], None, EXACT),
    (rgba, ["png", "tif", "tga", "webp", "jp2", "sgi", "dds"], None, ROUND),
    (la, ["png", "tif", "tga", "jp2"], None, ROUND),
    (cmyk, ["tif"], None, ROUND),
    (cmyk, ["jpg"], None, LOSSY),
    (ycbcr, ["tif"], None, ROUND),
    (sixteen, ["png", "tif", "pgm", "jp2"], None, EXACT),
    (dark_sixteen, ["png", "tif", "pgm"], None, EXACT),
    (thirty_two(200, 255), ["tif"], None, EXACT),
    (thirty_two(40_000, 65535), ["tif", "pgm"], None, EXACT),
    (thirty_two(200, 65535), ["pgm"], None, EXACT),  # which has 16 bits
    (beyond, ["tif"], None, EXACT),
    (floats(0.9, 1), ["tif", "pfm"], None, EXACT),
    (floats(200, 255), ["tif"], None, EXACT),
    (floats(4000, 65535), ["tif"], None, EXACT),
    (any_floats, ["tif"], None, ROUND),
    (flat, ["jpg", "jpeg", "jfif", "jpe"], "JPEG", LOSSY),
    (flat_levels, ["jpg"], "JPEG", LOSSY),
    (smooth, ["webp", "avif", "jpg"], None, LOSSY),
    (frames, ["gif", "tiff", "apng"], None, EXACT),
    (rgb, ["jpg", "gif", "bmp"], "PNG", EXACT),  # called by another name
]


def turned(seen, orientation):
    """What is seen of rows and columns as a file has them."""
    flipped = {
        1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1],
        5: seen.swapaxes(0, 1), 6: seen[::-1].swapaxes(0, 1),
        7: seen[::-1, ::-1].swapaxes(0, 1), 8: seen.swapaxes(0, 1)[::-1],
    }  # fmt: skip
    return flipped[orientation]


def save(kind, ending, path, rng, orientation=1):
    """Write a picture; what is seen of it, ``[3, H, W]``, and how closely."""
    make, _, format, within = kind
    picture, seen, how = make(rng)
    if ending == "webp" and within < LOSSY:
        how |= {"lossless": True, "exact": True}
    if orientation > 1:
        how["exif"] = Image.Exif()
        how["exif"][0x112] = orientation
    picture.save(path, format, **how)
    return turned(seen, orientation).transpose(2, 0, 1), within


def close(found, expected):
    seen, within = expected
    return np.abs(found - seen).max() <= within


# --- folders: what is laid out, and what belongs to which class -----------------------

NAMES = [
    "2", "10", "a", "a b", " blank ", "$5 {bill$", "x.png", "Ünder", "猫", "кот", "A",
    "e\u0301cole", "class#1", "a'\"b", "-v", "~", "emoji \U0001f431", "n" * 200, "%20",
]  # fmt: skip
LEFT_BEHIND = [
    ".DS_Store", "Thumbs.db", "desktop.ini", "._0.jpg", ".hidden.png", "Icon\r",
    "__MACOSX/a/._0.png", "__MACOSX/1.png", ".ipynb_checkpoints/0-checkpoint.png",
    "@eaDir/0.png/thumb.jpg", ".git/config", "$RECYCLE.BIN/0.png", "ehthumbs.db",
    ".thumbnails/a.jpg", "__pycache__/a.pyc", "lost+found/1.png",
]  # fmt: skip
OTHER_FILES = [
    "labels.csv", "notes.txt", "0.json", "noending", "clip.mp4", "0.png.part", "x.h5",
    "figure.eps", "a.svg", "0.npy", "archive.zip", "Thumbs.txt",
]  # fmt: skip
FOUND = ("leavings", "left out", "wrong")
WRONG = ["truncated", "no image", "empty file", "no target"]


class Folder:
    """One folder made at random, and what has to come of it."""

    def __init__(self, root, seed):
        self.rng, self.root = np.random.default_rng(seed), root / "pictures"
        self.counts, self.left_out, self.wrong = Counter(folders=1), 0, None
        self.parts = self.pick([["train", "test"], ["train", "val"]])
        if self.rng.random() < 0.3:
            self.parts = ["train", "test", self.pick(["validation", "val", "valid"])]
        n = int(self.rng.integers(2, 5))
        self.names = [NAMES[i] for i in self.rng.permutation(len(NAMES))[:n]]
        form = {name: unicodedata.normalize("NFC", name) for name in self.names}
        self.classes = sorted(form.values())
        self.expected, self.places = {p: [] for p in self.parts}, []
        for part in self.parts:
            for name in self.names:
                spelt = self.pick([name, form[name]])
                label, place = self.classes.index(form[name]), self.root / part / spelt
                place.mkdir(parents=True)
                self.places.append(place)
                for _ in range(int(self.rng.integers(2, 6))):
                    self.picture(part, label, place)
                self.links(part, label, place)
                self.litter(place)
            self.litter(self.root / part)
            if self.rng.random() < 0.2:  # a picture in no class
                self.write(self.root / part / f"{self.number()}.png")
                self.left_out += 1
            if self.rng.random() < 0.1:
                (self.root / part / "loop").symlink_to(self.root / part)
        if self.rng.random() < 0.15:
            self.spoil()

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def number(self):
        self.counts["named"] += 1
        return self.counts["named"]

    def below(self, place):
        """A folder in a class folder, or deeper, or the class folder itself."""
        while self.rng.random() < 0.3:
            place = place / self.pick(["deeper", "b.png", "Größe", "2024 05", "val"])
        place.mkdir(parents=True, exist_ok=True)
        return place

    def write(self, path=None, place=None):
        """Write a picture of any kind; what has to be seen of it."""
        kind = self.pick(KINDS)
        ending = self.pick(kind[1])
        if path is None:
            spelt = ending.upper() if self.rng.random() < 0.2 else ending
            stem = self.pick(
                ["{}", "IMG {}", "猫 {}", "e\u0301 {}", "{}.v1", "-{}", "{}$"]
            )
            path = place / f"{stem.format(self.number())}.{spelt}"
        else:
            kind, ending = KINDS[0], "png"
        oriented = (
            ending in ("jpg", "jpeg", "png", "webp", "tif") and kind[1] is not ANY
        )
        turn = int(self.rng.integers(1, 9)) if oriented and kind[0] is not ycbcr else 1
        self.counts["files"] += 1
        self.counts[f"kind {kind[0].__name__} {ending}"] += 1
        return path, save(kind, ending, path, self.rng, turn)

    def picture(self, part, label, place):
        path, seen = self.write(place=self.below(place))
        self.expected[part].append((label, seen))
        if self.rng.random() < 0.1:  # linked under another name: a picture again
            path.with_name(f"{self.number()}{path.suffix}").symlink_to(path)
            self.expected[part].append((label, seen))
            self.counts["links"] += 1

    def links(self, part, label, place):
        if self.rng.random() < 0.2:  # a folder that lies elsewhere
            elsewhere = self.root.parent / f"elsewhere {self.number()}"
            elsewhere.mkdir()
            self.picture(part, label, elsewhere)
            (place / "linked").symlink_to(elsewhere)
            if self.rng.random() < 0.5:  # and twice: its pictures count once
                (place / "linked again").symlink_to(elsewhere)
            self.counts["links"] += 1
        if self.rng.random() < 0.2:
            inner = self.below(place)
            back = self.pick([inner, place, place.parent, self.root, Path("/")])
            (inner / "back").symlink_to(back)
            self.counts["loops"] += 1

    def litter(self, place):
        for name in LEFT_BEHIND:
            if self.rng.random() < 0.08:
                path = place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.rng.bytes(9))
                self.counts["leavings"] += 1
        for name in OTHER_FILES:
            if self.rng.random() < 0.04:
                path = self.below(place) if place.parent != self.root else place
                if not (path / name).exists():
                    (path / name).write_bytes(self.rng.bytes(9))
                    self.left_out += 1

    def spoil(self):
        """One picture is no longer one."""
        self.wrong = self.pick(self.places) / "spoilt.png"
        how = self.pick(WRONG)
        if how == "no target":
            self.wrong.symlink_to("nowhere.png")
        else:
            Image.fromarray(noise(self.rng, 3)).save(self.wrong)
            whole = self.wrong.read_bytes()
            cut = int(self.rng.integers(20, len(whole) - 20))
            content = {"truncated": whole[:cut], "no image": b"<html>" * 9}
            self.wrong.write_bytes(content.get(how, b""))
        self.counts[f"wrong {how}"] += 1


def seen_in(data, folder):
    """Label and pixels of each picture that was read, by the folder it came from."""
    first, second, test = (
        [*zip(s.labels.tolist(), (255 * data.images(s)).numpy(), strict=True)]
        for s in (data.train, data.validation, data.test)
    )
    found = [first, test, second] if folder.parts[2:] else [first + second, test]
    return dict(zip(folder.parts, found, strict=True))


def check(folder):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if folder.wrong:
            with pytest.raises(ValueError, match="cannot read the image") as raised:
                seen_in(mn.ImageData.from_folder(folder.root, image_size=SIDE), folder)
            assert str(folder.wrong) in str(raised.value)
            return
        data = mn.ImageData.from_folder(folder.root, image_size=SIDE)
    told = [str(w.message) for w in said]
    assert len(told) == (folder.left_out > 0), told
    assert not told or f"in no class: {folder.left_out} (" in told[0]
    assert data.class_names == tuple(folder.classes)
    for part, found in seen_in(data, folder).items():
        missing = list(folder.expected[part])
        for label, pixels in found:
            fits = [
                i for i, (c, e) in enumerate(missing) if c == label and close(pixels, e)
            ]
            assert fits, (
                f"{part}: a picture of {folder.classes[label]} is not as it was"
            )
            del missing[fits[0]]
        assert not missing, part
    if isinstance(data.train, splits.ArraySplit):
        pixels = data.images(data.train).double()
        assert torch.allclose(data.mean.double(), pixels.mean((0, 2, 3)), atol=1e-5)


def test_classes_and_files_come_in_the_order_of_torchvision(tmp_path):
    rng = np.random.default_rng(0)
    for part, name in itertools.product(("train", "test"), ("2", "10", "B", "a", "é")):
        for below in ("", "z", "z/a", "z-a", "Z", "a b"):
            (tmp_path / part / name / below).mkdir(parents=True, exist_ok=True)
            for file in ("2.png", "10.PNG", "B.png"):
                save(KINDS[0], "png", tmp_path / part / name / below / file, rng)
    names, rows = class_folders(tmp_path)
    for part, found in rows.items():
        theirs = ImageFolder(tmp_path / part)
        assert names == theirs.classes == ["10", "2", "B", "a", "é"]
        assert found == theirs.samples


def test_what_is_no_picture_is_said_once(tmp_path):
    rng = np.random.default_rng(0)
    for part, name in itertools.product(("train", "test"), "ab"):
        (tmp_path / part / name).mkdir(parents=True)
        for i in range(3):
            save(KINDS[0], "png", tmp_path / part / name / f"{i}.png", rng)
    for name in ("train/a/x.txt", "train/b/y.TXT", "test/labels", "train/.DS_Store"):
        (tmp_path / name).write_bytes(b"7")
    with pytest.warns(UserWarning, match=r": 3 \(2 \.txt, 1 without ending\)") as said:
        data = mn.ImageData.from_folder(tmp_path, image_size=SIDE)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert len(data.test) == 6


def test_damaged_notes_spoil_no_picture(tmp_path):
    path, picture = tmp_path / "0.png", Image.new("RGB", (SIDE, SIDE), (9, 8, 7))
    for notes in (b"Exif\0\0garbage", b"Exif\0\0", b"\xff" * 50):
        picture.save(path, exif=notes)
        assert read_image(path, SIDE)[:, 0, 0].tolist() == [9, 8, 7]


def test_any_folder_is_read_as_what_it_was_made_from(
    tmp_path, monkeypatch, record_property
):
    counts, first = Counter(), int(os.environ.get("MNEMONIC_FIRST", "0"))
    for seed in range(first, first + FOLDERS):
        limit = 2**30 if seed % 2 else 0  # in memory, or from files
        monkeypatch.setattr(splits, "IN_MEMORY_LIMIT", limit)
        folder = Folder(tmp_path / "one", seed)
        try:
            check(folder)
        except BaseException as error:
            error.add_note(f"folder of seed {seed}")
            raise
        counts += folder.counts
        counts["left out"] += folder.left_out
        shutil.rmtree(tmp_path / "one")
    del counts["named"]
    kinds = [name for name in counts if name.startswith("kind ")]
    wrong = sum(n for name, n in counts.items() if name.startswith("wrong "))
    counts |= {"kinds": len(kinds), "wrong": wrong}
    for name in ("folders", "files", "kinds", "links", "loops", *FOUND):
        record_property(name, counts[name])
