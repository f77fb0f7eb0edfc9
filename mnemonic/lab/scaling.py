"""What growing costs: time and memory by classes and networks, accuracy by codes.

Each function is a cell of a grid (see ``mnemonic.lab.records``); chapter 11 shows them.
"""

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vit_b_16

from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import SPLITS, ImageData
from mnemonic.evaluation import evaluate
from mnemonic.forgetting.report import Forgotten
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.profiles import Profile
from mnemonic.lab.scoring import two_numbers
from mnemonic.models import build_model
from mnemonic.networks.running import seeded, synchronise


def cost_of_codes(seed: int, n_classes: int, t_mix: float, distribution: str) -> dict:
    """Accuracy that a small ResNet pays for its codes, by number of classes.

    Args:
        seed: Of codes, weights and training.
        n_classes: The first K of the 40 of Tiny-ImageNet-40, 32 pixels a side, 100
            training images each.
        t_mix: Share of codes; 0 for a network without.
        distribution: Of the codes.

    Returns:
        Accuracy on test images, and codes known, in percent; and, where there are
        codes, A_R before, A_R and E_F after the last layer has forgotten class 3, the
        strength chosen on the codes.
    """
    profile = Profile.named("tiny-imagenet-40-codes")
    data, c = _first_classes(profile.load(), n_classes), profile.forget_class
    model, codes = profile.trained(data, seed, t_mix=t_mix, distribution=distribution)
    before = evaluate(model, data, [c])
    row = {"accuracy": before.accuracy, "codes_known": float("nan")}
    row |= {"before_remaining_accuracy": before.remaining_accuracy}
    if not t_mix:
        return row
    with torch.no_grad():
        known = model(codes.images).argmax(1) == codes.labels
    row |= {"codes_known": 100 * float(known.double().mean())}
    forgot = quietly_forget(model, codes, [c], layers="last").model
    return row | two_numbers(forgot, data, [c])


def _first_classes(data: ImageData, n_classes: int) -> ImageData:
    splits = {part: getattr(data, part) for part in SPLITS}
    few = {part: s.take(s.labels < n_classes) for part, s in splits.items()}
    return replace(data, class_names=data.class_names[:n_classes], **few)


# One of each kind: plain, residual, grouped, depthwise, dense, tied, transformer.
NETWORKS = (
    "squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v3_large", "efficientnet_b0",
    "densenet121", "googlenet", "resnet18", "resnext50_32x4d", "regnet_y_400mf",
    "convnext_tiny", "swin_t", "swin_v2_t", "vit_b_16", "tied",
)  # fmt: skip


class Tied(nn.Module):
    """One convolution that is used three times.

    Args:
        n_classes: K.
        width: Channels.
    """

    def __init__(self, n_classes: int, width: int = 256):
        super().__init__()
        self.first = nn.Conv2d(3, width, 4, 4)
        self.again = nn.Conv2d(width, width, 3, padding=1)
        self.bend = nn.ReLU()
        self.last = nn.Linear(width, n_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, K]`` of inputs ``[N, 3, H, W]``."""
        x = self.first(inputs)
        for _ in range(3):
            x = self.bend(self.again(x))
        return self.last(x.mean((2, 3)))


def _network(name: str, data: ImageData, seed: int) -> nn.Module:
    """As ``build_model``; ``tied``, and a ``vit_b_16`` for images of any size, too."""
    with seeded(seed):
        if name == "tied":
            return Tied(data.n_classes)
        if name == "vit_b_16":
            side = data.input_shape[1]
            return vit_b_16(image_size=side, num_classes=data.n_classes)
    return build_model(name, data, seed=seed)


def blank_data(n_classes: int, side: int) -> ImageData:
    """One black image of each class, for networks whose weights stay random."""
    pixels = torch.zeros(n_classes, 3, side, side, dtype=torch.uint8)
    part = (pixels, torch.arange(n_classes))
    return ImageData.from_arrays(
        **dict.fromkeys(SPLITS, part),
        class_names=[str(c) for c in range(n_classes)],
        name="blank",
    )


def costs(
    seed: int,
    network: str,
    n_classes: int,
    side: int,
    device: str = "cpu",
    repeats: int = 3,
) -> dict:
    """Time and memory of forgetting, in a network with random weights.

    Args:
        seed: Of weights and codes.
        network: One of ``NETWORKS``, or as ``build_model`` takes it.
        n_classes: K, of outputs and of codes.
        side: Of the images, in pixels.
        device: Where to compute.
        repeats: How often limit and step take turns; the smallest of each counts.

    Returns:
        Seconds of the Fisher on all codes and of the step (``forget`` with a given
        strength and sign); seconds of the limit, forward and backward of one batch
        with nothing per sample; largest memory above that before, in MiB (NaN where
        the system does not count it); and the number of weights.
    """
    data = blank_data(n_classes, side)
    model = _network(network, data, seed).eval().to(device)
    codes = MnemonicCodes.draw(data, seed=seed).to(device)
    where = codes.images.device
    batches = [*zip(codes.images.split(32), codes.labels.split(32), strict=True)]

    def limit() -> float:
        synchronise(where)
        started = time.perf_counter()
        for images, labels in batches:
            loss = functional.cross_entropy(model(images), labels)
            torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        synchronise(where)
        return time.perf_counter() - started

    def step() -> Forgotten:
        given = {"strength": Strength(1e-4, 1.0), "sign": 1}
        return quietly_forget(model, codes, [0], **given)

    limit()  # both are warm before the clock starts
    memory = peak_mib(step, where)
    limits, steps = zip(*((limit(), step()) for _ in range(repeats)), strict=True)
    return {
        "seconds": min(result.seconds for result in steps),
        "limit_seconds": min(limits),
        "memory_mib": memory,
        "weights": sum(p.numel() for p in model.parameters()),
        "finite": bool((steps[-1].layers["largest_step"] < 1e6).all()),
    }


def peak_mib(call: Callable[[], object], device: torch.device) -> float:
    """Memory that a call takes on top of what is in use, at its peak.

    Args:
        call: What is measured.
        device: Whose memory: a GPU's, as torch hands it out, or this process's.

    Returns:
        MiB; NaN where the system does not count it.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with contextlib.suppress(AttributeError, OSError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)  # or it would serve from what others left
    before = _resident_mib("VmRSS", reset=True)
    call()
    return _resident_mib("VmHWM") - before


def _resident_mib(field: str, *, reset: bool = False) -> float:
    """A field of this process's status; ``reset`` forgets the peak so far."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(field)) / 1024
    except (OSError, StopIteration):
        return float("nan")
