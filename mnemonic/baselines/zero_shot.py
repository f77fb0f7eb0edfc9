"""Zero-shot unlearning, without any data (Chundawat et al. 2023, *Zero-Shot MU*).

``error-min-max``: for each remaining class k, images z_k that the network finds as like
k as can be (Adam 0.1, 30 steps, no regulariser); for each forget class c, images as
unlike c as can be (25 steps, as in FastMU). 4 images a class, 80 times over, 2 epochs
of CE on all (z_k, k) and (z_c, c), Adam 1e-4. There is no official code, and two public
ports disagree on the sign for z_c; here it is +CE: the anti-sample is *labelled* c, as
in FastMU (``ascend`` takes the other). The statistics of BatchNorm are frozen: made-up
images are all that it sees.

``gkt``: a generator G(z), z ~ N(0, I), makes up images; those with p_θ0(c | x) above
0.01 are dropped. In turns, one step of G up KL(teacher || student), and ten steps of a
student with random weights down KL(teacher || student) + 250 Σ_l mean (a_l^S - a_l^T)²,
where a_l is the mean over channels of the squared activation of layer l, flattened and
of norm 1. The same z serves a cycle of eleven steps. Adam 1e-3 for both, gradient norm
at most 5, temperature 1; KL is a mean over elements. The authors take 4,000 cycles for
MNIST, about 190 epochs' worth; fewer are the default here. At that length their rate
schedule (halve when the loss rests) and the reload of the generator after 100 batches
without an image are left out; the last convolution is 3×3 for gray images too.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.distances import kl
from mnemonic.baselines.fastmu import hostile_noise
from mnemonic.baselines.gradients import adam, descend, training
from mnemonic.baselines.method import method
from mnemonic.baselines.retrain import another
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import watched
from mnemonic.networks.running import seeded


@method(
    "error-min-max",
    title="Error-min-max noise",
    cites=("chundawat2023zero",),
    space={"learning_rate": Range(1e-6, 0.01), "n_noise": Range(2, 64)},
)
def error_min_max(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-4,
    n_noise: int = 4,
    repeats: int = 80,
    epochs: int = 2,
    batch_size: int = 256,
    ascend: bool = False,
) -> nn.Module:
    """Impair and repair at once; with ``ascend``, *up* the loss of the forget class."""
    generator, shape = access.generator, (n_noise, *access.data.input_shape)
    model.eval()
    noise = partial(hostile_noise, model, shape=shape, generator=generator)
    away, toward = {"steps": 25}, {"steps": 30, "toward": True, "norm_weight": 0.0}
    hows = [away if k in access.classes else toward for k in range(access.n_classes)]
    images = torch.cat([noise(k, **how) for k, how in enumerate(hows)])
    labels = torch.arange(access.n_classes, device=images.device)
    labels = labels.repeat_interleave(n_noise)
    sign = torch.where(access.forgets(labels) & ascend, -1.0, 1.0)
    optimizer = adam(training(model), learning_rate)

    def loss(inputs: Tensor, chosen: Tensor) -> Tensor:
        each = functional.cross_entropy(model(inputs), labels[chosen], reduction="none")
        return (sign[chosen] * each).mean()

    n = len(labels) * repeats
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator, device=generator.device)
        parts = (order % len(labels)).split(batch_size)
        descend(loss, ((images[part], part) for part in parts), optimizer)
    return model


class Generator(nn.Sequential):
    """Makes images ``[N, C, H, W]``, normalised, of noise ``[N, 128]``."""

    def __init__(self, shape: tuple[int, int, int]):
        channels, height, width = shape
        start = (128, math.ceil(height / 4), math.ceil(width / 4))
        super().__init__(
            nn.Linear(128, math.prod(start)),
            nn.Unflatten(1, start),
            nn.BatchNorm2d(128),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )
        self.height, self.width = height, width

    def forward(self, noise: Tensor) -> Tensor:
        """Images of noise."""
        return super().forward(noise)[:, :, : self.height, : self.width]


def attention_maps(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits ``[N, K]``, and the attention maps of the top-level layers."""
    maps: list[Tensor] = []

    def see(name: str, given: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] > 1:
            squares = output.square().mean(1).flatten(1)
            maps.append(functional.normalize(squares, dim=1))

    with watched(dict(model.named_children()), see):
        return model(images), maps


@method(
    "gkt",
    title="GKT",
    cites=("chundawat2023zero",),
    space={
        "learning_rate": Range(1e-4, 0.03),
        "gate": Range(0.001, 0.3, share=True),
    },
    economy={"cycles": 50, "batch_size": 32},
)
def gkt(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-3,
    cycles: int = 100,
    student_steps: int = 10,
    attention: float = 250.0,
    gate: float = 0.01,
    batch_size: int = 256,
) -> nn.Module:
    """Teach a fresh network by made-up images that are not of the class."""
    device = device_of(model)
    teacher = model.eval().requires_grad_(False)
    new = another(access.seed, "gkt")
    student = access.fresh(new).to(device).train()
    with seeded(new):
        maker = Generator(access.data.input_shape).to(device)
    optimizers = {m: adam(m, learning_rate) for m in (maker, student)}

    def step(moved: nn.Module, images: Tensor, sign: float, weight: float) -> None:
        with torch.no_grad():
            kept = (teacher(images).softmax(1)[:, list(access.classes)] <= gate).all(1)
        if kept.sum() < 2:  # batch normalisation needs two
            return
        aim, maps = attention_maps(teacher, images[kept])
        made, made_maps = attention_maps(student, images[kept])
        pairs = zip(maps, made_maps, strict=True)
        loss = sign * kl(aim, made).mean() / access.n_classes
        if weight:
            loss = loss + weight * sum((a - b).square().mean() for a, b in pairs)
        optimizers[moved].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(moved.parameters(), 5.0)
        optimizers[moved].step()

    for _ in range(cycles):
        noise = torch.randn(batch_size, 128, generator=access.generator, device=device)
        step(maker, maker(noise), -1.0, 0.0)
        with torch.no_grad():
            images = maker(noise)  # the same for all steps of the student
        for _ in range(student_steps):
            step(student, images, 1.0, attention)
    return student
