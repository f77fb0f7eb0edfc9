"""Drawings by many people: Omniglot's small sets, and writers simulated from digits.

Omniglot (Lake, Salakhutdinov, Tenenbaum 2015; MIT) has each character drawn by twenty
people. A drawer's number names a person within one alphabet only, so a *writer* here is
one drawer of one alphabet: 160 sheets of 17 to 47 drawings. The label is the number of
pen strokes, which varies within every sheet.

Example:
    >>> drawn = simulated_writers(4, each=20, seed=0)
    >>> drawn.pixels.shape, drawn.writers.unique().tolist()
    (torch.Size([80, 1, 28, 28]), [0, 1, 2, 3])
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mnemonic.checks import checked_number
from mnemonic.data.files import decode
from mnemonic.data.originals import SHA256, data_folder, fetching, missing, original
from mnemonic.data.sources import load_data
from mnemonic.storage import generator_for

STROKES = ("1", "2", "3", "4 or more")  # the four classes
_OMNIGLOT = "omniglot-small"
_WHERE = "two background_small zip files of images and two of strokes"


@dataclass(frozen=True, eq=False)
class Drawings:
    """Drawings, what they are of, and who made them.

    Attributes:
        pixels: Ink in [0, 1], shape ``[N, 1, S, S]``.
        labels: Class indices ``[N]``, ``int64``.
        writers: Indices of writers ``[N]``, ``int64``.
        class_names: The K names, in the order of the labels.
    """

    pixels: Tensor
    labels: Tensor
    writers: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def omniglot(root: str | Path | None = None, *, download: bool = False) -> Drawings:
    """Omniglot's two small background sets, by writer sheet and number of strokes.

    Args:
        root: The data folder, which holds ``omniglot-small`` with the four zip files
            as they are published; as in ``load_data`` where missing.
        download: Fetch what is missing, from the address that torchvision has.

    Returns:
        4,840 drawings, averaged down from 105 to 21 pixels. Alphabets that both sets
        have count once.

    A ``FileNotFoundError`` says which files are missing, and how to get them; a
    ``ValueError`` that one is damaged.
    """
    folder = data_folder(root) / _OMNIGLOT
    for file in SHA256[_OMNIGLOT]:
        if download and not (folder / file).exists():
            from torchvision.datasets import Omniglot
            from torchvision.datasets.utils import download_url

            with fetching(_OMNIGLOT, _WHERE, folder):
                download_url(f"{Omniglot.download_url_prefix}/{file}", folder)
        if not (folder / file).exists():
            missing(_OMNIGLOT, file, "omniglot(download=True)", folder)
    images, strokes = {}, {}
    for file in SHA256[_OMNIGLOT]:
        with zipfile.ZipFile(io.BytesIO(original(_OMNIGLOT, folder / file))) as archive:
            for name in archive.namelist():
                path = Path(name)  # <set>/<alphabet>/<character>/NNNN_DD.<ending>
                if path.suffix in (".png", ".txt") and path.parts[0] != "__MACOSX":
                    key = path.parts[1], path.stem[-2:], path.stem
                    read = images if path.suffix == ".png" else strokes
                    read[key] = archive.read(name)
    keys = sorted(images)  # by alphabet and drawer: a sheet lies together
    sheets = {sheet: i for i, sheet in enumerate(sorted({key[:2] for key in keys}))}
    ink = torch.stack([decode(io.BytesIO(images[key]))[:1] < 128 for key in keys])
    return Drawings(
        functional.avg_pool2d(ink.float(), 5),
        torch.tensor([min(strokes[key].count(b"BREAK"), 4) - 1 for key in keys]),
        torch.tensor([sheets[key[:2]] for key in keys]),
        STROKES,
    )


def simulated_writers(n: int, each: int, seed: int) -> Drawings:
    """Writers who do not exist: digits, slanted, thickened and warped by hand.

    Every writer is a slant, a thickness and a smooth displacement of the plane, drawn
    once. No digit is given to two writers.

    Args:
        n: Writers.
        each: Digits a writer; n times ``each`` is at most 3,500.
        seed: Of writers, and of who draws what.

    Returns:
        The drawings, 28 pixels wide, of the ten digits.

    A ``ValueError`` says that there are not so many digits.
    """
    digits = load_data("mnist-5k").train
    allowed = f"at most {len(digits)} digits in all"
    checked_number("n * each", n * each, lambda m: 0 < m <= len(digits), allowed)
    generator = generator_for("simulated-writers", seed)
    chosen = torch.randperm(len(digits), generator=generator)[: n * each]
    ink = digits.pixels[chosen].float() / 255
    slant = torch.randn(n, generator=generator) * 0.45
    weight = torch.rand(n, generator=generator) * 2 - 1  # -1 thinner … 1 thicker
    bend = torch.randn(n, 2, 4, 4, generator=generator) * 0.12  # of half the side
    smooth = functional.interpolate(bend, 28, mode="bicubic", align_corners=True)
    # Row by row, (x, y) of where the ink is taken from: slanted, then displaced.
    affine = torch.eye(2, 3).repeat(n, 1, 1)
    affine[:, 0, 1] = slant
    where = functional.affine_grid(affine, [n, 1, 28, 28], align_corners=False)
    where = (where + smooth.permute(0, 2, 3, 1)).repeat_interleave(each, 0)
    ink = functional.grid_sample(ink, where, align_corners=False)
    thick = functional.max_pool2d(ink, 3, 1, 1)
    thin = -functional.max_pool2d(-ink, 3, 1, 1)
    share = weight.repeat_interleave(each)[:, None, None, None]
    ink = ink + share.abs() * (torch.where(share > 0, thick, thin) - ink)
    names = tuple(map(str, range(10)))
    writers = torch.arange(n).repeat_interleave(each)
    return Drawings(ink.clamp(0, 1), digits.labels[chosen], writers, names)
