"""Image files: how one is read, and how folders of them are laid out.

Example:
    >>> try:
    ...     class_folders(Path("nowhere"))
    ... except ValueError as error:
    ...     print(error)
    nowhere needs train/<class>/ and test/<class>/ with image files; ...
"""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".gif"}


def decode(file: str | Path | BinaryIO) -> Tensor:
    """Pixels ``[3, H, W]`` (``uint8``, RGB) of an image file, a name or an open one."""
    with Image.open(file) as image:
        pixels = np.array(image.convert("RGB"))  # [H, W, 3]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


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
    except (
        OSError, SyntaxError, ValueError, Image.DecompressionBombError,
    ) as error:  # fmt: skip  # Pillow raises all of them for damaged files
        raise ValueError(
            f"cannot read the image {path} ({error}); it may be cut short: fetch it "
            "again or remove it"
        ) from error
    if image.shape[1:] == (size, size):
        return image
    from torchvision.transforms.v2 import functional  # takes a second to import

    resized = functional.resize(image, [size], antialias=True)
    return functional.center_crop(resized, [size, size])


def class_folders(folder: Path) -> tuple[list[str], dict[str, list[tuple[str, int]]]]:
    """Read ``<folder>/<split>/<class>/<image>``.

    Args:
        folder: Holds ``train`` and ``test``, perhaps ``validation`` (or ``val``,
            ``valid``); where there is no ``test``, a ``val`` is taken for it.

    Returns:
        Class names in alphabetical order, and ``(path, label)`` of the images of each
        split found.

    Raises:
        ValueError: If a split is missing, or has classes that ``train`` lacks.
    """
    found = {p.name: p for p in folder.iterdir()} if os.path.isdir(folder) else {}
    held = next((found[n] for n in ("validation", "val", "valid") if n in found), None)
    parts = {"train": found.get("train"), "test": found.get("test", held)}
    if held and "test" in found:
        parts["validation"] = held
    if not all(parts.values()):
        raise ValueError(
            f"{folder} needs train/<class>/ and test/<class>/ with image files; "
            f"found {sorted(found) or 'nothing'} there"
        )
    names = sorted(p.name for p in parts["train"].iterdir() if p.is_dir())
    rows = {}
    for part, path in parts.items():
        strange = {p.name for p in path.iterdir() if p.is_dir()} - set(names)
        if strange:
            raise ValueError(
                f"{path} has classes that train lacks: {sorted(strange)}; "
                "every split needs the same class folders"
            )
        rows[part] = [
            (str(file), label)
            for label, name in enumerate(names)
            for file in sorted((path / name).glob("*"))
            if file.suffix.lower() in IMAGE_ENDINGS
        ]
    return names, rows
