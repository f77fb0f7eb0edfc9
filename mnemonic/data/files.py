"""Image files: how one is read, and how folders of them are laid out.

Read is whatever Pillow reads by itself, as viewers show it: the first picture of a
file, turned by its EXIF orientation, on white where it is transparent, in 8 bits.
Integers of 16 bits are divided by 257. Floats and integers of 32 bits do not tell their
full scale: it is the first of 1 (floats only), 255 and 65535 that all values fit in,
else they are stretched from the least to the greatest of the picture.

Example:
    >>> try:
    ...     class_folders(Path("nowhere"))
    ... except ValueError as error:
    ...     print(error)
    nowhere needs train/<class>/ and test/<class>/ with image files; ...
"""

import contextlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import BinaryIO
from unicodedata import normalize

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from mnemonic.checks import listed

# Known to Pillow by name, and left to other programs.
OTHERS_READ = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# What systems and programs leave behind: hidden names, thumbnails, bins.
LEAVINGS = re.compile(
    r"\..*|__macosx|icon\r|(eh)?thumbs\.db|desktop\.ini|\$recycle\.bin|"
    r"system volume information|lost\+found|@eadir|__pycache__",
    re.IGNORECASE | re.DOTALL,
)
TURNS = dict(zip(range(2, 9), (
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
), strict=True))  # fmt: skip  # by EXIF orientation


def decode(file: str | Path | BinaryIO) -> Tensor:
    """Pixels ``[3, H, W]`` (``uint8``, RGB) of an image file, a name or an open one."""
    with Image.open(file) as image:
        image.load()  # turns a TIFF, and takes the tag away
        turn = None
        with contextlib.suppress(Exception):  # damaged notes spoil no picture
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
        seen = _in_eight_bits(image) if image.mode[0] in "IF" else image
        if seen.has_transparency_data:
            ground = Image.new("RGBA", seen.size, "white")
            seen = Image.alpha_composite(ground, seen.convert("RGBA"))
        seen = seen.convert("RGB")
        pixels = np.array(seen if turn is None else seen.transpose(turn))  # [H, W, 3]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Gray levels of more than 8 bits, scaled as the head of this module says."""
    values = np.array(image, np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    scales = [1, 255, 65535] if image.mode == "F" else [255, 65535]
    # A PNG or PPM of mode I has 16 bits, too.
    if ";16" in image.mode or f"{image.mode} {image.format}" in ("I PNG", "I PPM"):
        scales = [65535]
    if low >= 0 and high <= scales[-1]:
        low, high = 0, next(s for s in scales if high <= s)
    values = np.nan_to_num(values, nan=low).clip(low, high)
    levels = (values - low) * (255 / ((high - low) or 1))
    return Image.fromarray(levels.round().astype(np.uint8))


def read_image(path: str | Path, size: int) -> Tensor:
    """Read one image file as RGB, shorter side resized to ``size``, cut to a square.

    Args:
        path: A file that Pillow can decode.
        size: Side of the square, in pixels.

    Returns:
        Pixels of shape ``[3, size, size]``, ``uint8``.

    Raises:
        ValueError: If the file is missing or cannot be decoded.
    """
    try:
        image = decode(path)
    except Exception as error:  # Pillow's decoders raise many kinds at damaged files
        raise ValueError(
            f"cannot read the image {path} ({error}); it may be cut short: fetch it "
            "again or remove it"
        ) from error
    if image.shape[1:] == (size, size):
        return image
    from torchvision.transforms.v2 import functional  # takes a second to import

    resized = functional.resize(image, [size], antialias=True)
    return functional.center_crop(resized, [size, size])


def read_images(paths: Sequence[str], size: int) -> Tensor:
    """As ``read_image``, ``[N, 3, size, size]``, in as many threads as torch has."""
    # Not in the threads: modules that need each other are imported by one alone.
    import torchvision.transforms.v2.functional  # noqa: F401

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.stack([*pool.map(read_image, paths, repeat(size))])


def class_folders(folder: Path) -> tuple[list[str], dict[str, list[tuple[str, int]]]]:
    """Read ``<folder>/<split>/<class>/<image>``, and what lies deeper in a class.

    Args:
        folder: Holds ``train`` and ``test``, perhaps ``validation`` (or ``val``,
            ``valid``); where there is no ``test``, a ``val`` is taken for it.

    Returns:
        Class names in alphabetical order (that of ``sorted``, as in torchvision's
        ``ImageFolder``), and ``(path, label)`` of the images of each split found. One
        warning counts the files that were left out.

    Raises:
        ValueError: If a split is missing, or has classes that ``train`` lacks.
    """
    found = {e.name: e.path for e in _entries(folder)} if os.path.isdir(folder) else {}
    held = next((found[n] for n in ("validation", "val", "valid") if n in found), None)
    parts = {"train": found.get("train"), "test": found.get("test", held)}
    if held and "test" in found:
        parts["validation"] = held
    if not all(parts.values()):
        there = "a file" if os.path.isfile(folder) else [*found] or "nothing"
        raise ValueError(
            f"{folder} needs train/<class>/ and test/<class>/ with image files; "
            f"found {there} there"
        )
    names, rows, left_out = None, {}, []  # names: those of train, which is the first
    for part, path in parts.items():
        classes, others = _classes(path)
        if names is None:
            names = sorted({name for name, _ in classes})
        strange = {name for name, _ in classes} - set(names)
        if strange:
            raise ValueError(
                f"{path} has classes that train lacks: {sorted(strange)}; "
                "every split needs the same class folders"
            )
        rows[part], label = [], {name: c for c, name in enumerate(names)}
        for name, place in classes:
            images, more = _below(place)
            rows[part] += [(image, label[name]) for image in images]
            others += more
        left_out += others
    if left_out:
        kinds = Counter(os.path.splitext(f)[1].lower() for f in left_out)
        kinds = [f"{n} {end or 'without ending'}" for end, n in kinds.most_common()]
        warnings.warn(
            f"{folder}: files left out, as no image that Pillow reads or in no class: "
            f"{len(left_out)} ({listed(kinds)}), such as {listed(left_out)}",
            stacklevel=4,
        )
    return names, rows


def _entries(folder: str | Path) -> list[os.DirEntry]:
    """What is in a folder, by name, but for leavings."""
    there = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return [entry for entry in there if not LEAVINGS.fullmatch(entry.name)]


def _classes(split: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and path of each class folder of a split, and paths of stray files."""
    if not os.path.isdir(split):
        raise ValueError(f"{split} is a file; give a folder with one folder a class")
    entries, above = _entries(split), _and_above(split)
    places = [e.path for e in entries if _is_folder(e)]
    # Macs write an accent as a letter of its own. A link may lead back to the split.
    classes = sorted(
        (normalize("NFC", os.path.basename(place)), place)
        for place in places
        if os.path.realpath(place) not in above
    )
    return classes, [e.path for e in entries if e.path not in places]


def _below(folder: str) -> tuple[list[str], list[str]]:
    """Paths of images in a folder and deeper, in torchvision's order; other files."""
    endings = {
        end for end, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in OTHERS_READ
    }  # fmt: skip
    images, others, folders = [], [], [folder]
    seen = _and_above(os.path.dirname(folder))
    seen |= _and_above(os.path.dirname(os.path.realpath(folder)))
    for here in folders:  # which grows
        real = os.path.realpath(here)
        if real in seen:  # a link led back, or here a second time
            continue
        seen.add(real)
        for entry in _entries(here):
            if _is_folder(entry):
                folders.append(entry.path)
            # A link to nothing is an image that is missing: reading it says so.
            elif os.path.splitext(entry.name)[1].lower() in endings and (
                entry.is_symlink() or entry.is_file()
            ):
                images.append(entry.path)
            else:
                others.append(entry.path)
    return sorted(images, key=os.path.split), others


def _is_folder(entry: os.DirEntry) -> bool:
    if not entry.is_symlink():  # as the listing says: no further question to the disk
        return entry.is_dir()
    return os.path.isdir(entry.path)  # which does not mind a link to itself


def _and_above(folder: str) -> set[str]:
    """A folder and all that it lies in, links resolved."""
    real = Path(os.path.realpath(folder))
    return {str(real), *map(str, real.parents)}
