"""How a split reaches a network: cut into batches, shifted and mirrored.

Example:
    >>> import torch
    >>> images = torch.ones(4, 1, 8, 8)
    >>> crop_and_flip(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 8, 8])
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional

from mnemonic.checks import checked_device, checked_whole
from mnemonic.data.splits import ArraySplit, Split, check_split


def batches(
    split: Split,
    batch_size: int,
    device: torch.device | str,
    generator: torch.Generator | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through the pixels and labels of a split once.

    Args:
        split: In memory, where batches are cut on its device; or in files, which are
            read in as many threads as torch has (``torch.set_num_threads``).
        batch_size: Images a batch; the last one may be smaller.
        device: Where the batches are wanted.
        generator: Shuffles; without it the order is that of the split, in memory or
            in files alike.

    Yields:
        Pixels ``[B, C, H, W]`` and labels ``[B]``.

    Raises:
        ValueError: If split, size, device or generator do not fit.
    """
    check_split(split)
    device = checked_device(device)
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise ValueError(
            f"generator is {generator!r}; give a torch.Generator on {device}, or "
            "None to keep the order"
        )
    batch_size = checked_whole("batch_size", batch_size, 1)
    batch_size = min(batch_size, max(len(split), 1))  # torch takes 64 bits
    draw = {"generator": generator, "device": generator.device} if generator else {}
    order = torch.randperm if generator else torch.arange
    positions = order(len(split), **draw).to(split.labels.device).split(batch_size)
    if isinstance(split, ArraySplit):
        for chosen in positions:
            yield split.pixels[chosen].to(device), split.labels[chosen].to(device)
        return
    with ThreadPoolExecutor(1) as reader:  # of the next batch, while one is used
        now = None
        for part in chain(map(split.take, positions), [None]):
            coming = part and (reader.submit(part.read), part.labels)
            if now:
                yield now[0].result().to(device), now[1].to(device)
            now = coming


def crop_and_flip(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Shift each image at random by up to an eighth of its side, mirror half of them.

    Args:
        images: Normalised images ``[N, C, H, W]``; the border is filled with 0, their
            mean.
        generator: Source of the randomness, on the same device.

    Returns:
        A new tensor of the same shape.
    """
    n, _, height, width = images.shape
    pad, device = max(height // 8, 1), images.device
    padded = functional.pad(images, (pad,) * 4)
    draw = {"generator": generator, "device": device}
    top, left = torch.randint(2 * pad + 1, (2, n, 1), **draw)
    rows = top + torch.arange(height, device=device)  # [N, H]
    columns = left + torch.arange(width, device=device)  # [N, W]
    mirrored = torch.rand((n, 1), **draw) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(n, device=device)[:, None, None]
    # Advanced indices around a slice put the channel axis last.
    cut = padded[which, :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)
