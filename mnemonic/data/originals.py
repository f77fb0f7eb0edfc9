"""The files of the named sets: compared with the originals, or said to be missing.

A result counts only on the data that it names, so a file of somebody else's making, or
with one bit turned over, is refused.

Example:
    >>> sorted(SHA256)
    ['cifar10', 'cifar10-jpeg', 'fashion-mnist', 'mnist', 'omniglot-small',
    'tiny-imagenet-40']
"""

import contextlib
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn

from mnemonic.checks import checked_path
from mnemonic.storage import cache_folder

# Training images and labels, then those of the test.
IDX_FILES = tuple(
    f"{part}-{what}-ubyte"
    for part in ("train", "t10k")
    for what in ("images-idx3", "labels-idx1")
)
_MNIST = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
_FASHION_MNIST = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
CIFAR10_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_CIFAR10 = (
    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
)  # of the binary version
_CIFAR10_JPEG = "993121f3acb8e992e0e3c04e997a11ddb4460ff89c47c30dec8b710813536720"
_TINY_IMAGENET = "d8753ea0ba501f8a63013b637a46f8e6555c823717c1d13bf0545022dbba5018"
_OMNIGLOT = {
    "images_background_small1.zip":
    "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
    "images_background_small2.zip":
    "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
    "strokes_background_small1.zip":
    "8cb3960fb6cf4ccf5f064ad83169f828c36c36782a0f6e7faacb7ecfae4468a2",
    "strokes_background_small2.zip":
    "345bf2141efbea062833dbb2828abbc23d9e07825e46f2afdd4daecddfed6e78",
}  # fmt: skip
# Of what is inside, where a file may be compressed.
SHA256 = {
    "mnist": dict(zip(IDX_FILES, _MNIST, strict=True)),
    "fashion-mnist": dict(zip(IDX_FILES, _FASHION_MNIST, strict=True)),
    "cifar10": dict(zip(CIFAR10_FILES, _CIFAR10, strict=True)),
    "cifar10-jpeg": {"cifar10-jpeg.tar.xz": _CIFAR10_JPEG},
    "tiny-imagenet-40": {"tiny-imagenet-40.tar.xz": _TINY_IMAGENET},
    "omniglot-small": _OMNIGLOT,
}


def data_folder(root: str | Path | None) -> Path:
    """The data folder: the one named, else ``$MNEMONIC_DATA``, else in the cache."""
    if root is None:
        root = os.environ.get("MNEMONIC_DATA") or cache_folder() / "data"
    return checked_path("root", root)


def original(name: str, path: Path) -> bytes:
    """Read a file of a named set, which must be the original to the last bit.

    Args:
        name: A key of ``SHA256``.
        path: The file; one that ends in ``.gz`` is compressed.

    Returns:
        What is inside.

    Raises:
        ValueError: If it cannot be read, or is another file.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch it again") from error
    found = hashlib.sha256(raw).hexdigest()
    expected = SHA256[name][path.name.removesuffix(".gz")]
    if found != expected:
        raise ValueError(
            f"{path} is not the original file of {name}: its {len(raw)} bytes have the "
            f"SHA-256 {found[:16]}…, not {expected[:16]}…; fetch it again, or read "
            "images of your own with ImageData.from_folder or ImageData.from_arrays"
        )
    return raw


def missing(name: str, what: str, how: str, *folders: Path) -> NoReturn:
    """Say where files of a set were looked for, and how to get them."""
    raise FileNotFoundError(
        f"{name} is not here: looked for {what} in {' and '.join(map(str, folders))}. "
        f"Get it by {how}; name another data folder with MNEMONIC_DATA or root="
    )


@contextlib.contextmanager
def fetching(name: str, what: str, folder: Path) -> Iterator[None]:
    """Say why a download failed, and where the files may be put by hand."""
    try:
        yield
    except (OSError, RuntimeError, HTTPException, EOFError) as error:
        raise FileNotFoundError(
            f"{name} could not be fetched ({error}). Behind a proxy, set HTTPS_PROXY; "
            f"or fetch {what} on another machine, put it into {folder}, and leave out "
            "download=True"
        ) from error


@contextlib.contextmanager
def found_or_missing(name: str, what: str, how: str, folder: Path) -> Iterator[None]:
    """Say what is missing where torchvision finds nothing."""
    try:
        yield
    except (RuntimeError, FileNotFoundError):
        missing(name, what, how, folder)
