"""The files of the named sets, compared with the originals before they are looked into.

A result counts only on the data that it names, so a file of somebody else's making, or
with one bit turned over, is refused.

Example:
    >>> sorted(SHA256)
    ['cifar10-jpeg', 'fashion-mnist', 'mnist', 'tiny-imagenet-40']
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

# Of what is inside, where a file may be compressed.
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
    "cifar10-jpeg": {
        "cifar10-jpeg.tar.xz": (
            "993121f3acb8e992e0e3c04e997a11ddb4460ff89c47c30dec8b710813536720"
        ),
    },
    "tiny-imagenet-40": {
        "tiny-imagenet-40.tar.xz": (
            "d8753ea0ba501f8a63013b637a46f8e6555c823717c1d13bf0545022dbba5018"
        ),
    },
}


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
