"""FastMU, also UNSIR (Tarun et al. 2023, *Fast Yet Effective Machine Unlearning*).

(a) For each forget class c, noise z (256 images, N(0, 1)) that the network finds as
    unlike c as can be: min -CE(f_θ0(z), c) + 0.1 mean_i ‖z_i‖² by Adam 0.1, 40 steps,
    in evaluation mode.
(b) Impair: 1 epoch of CE on {(z, c)}, taken 20 times over, with 1,000 remaining images
    a class, by Adam 0.02, batch 256.
(c) Repair: 1 epoch of CE on the same remaining images, Adam 0.01.

The public notebook makes 20 × C noise images, C the channels, and labels all with one
class; the text means 20 × 256 for each class, which is what is done here. The
statistics of BatchNorm are frozen: much of what (b) sees is noise.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import adam, cross_entropy, descend, training
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range


def hostile_noise(
    model: nn.Module,
    c: int,
    shape: tuple[int, ...],
    steps: int,
    generator: torch.Generator,
    *,
    toward: bool = False,
    norm_weight: float = 0.1,
) -> Tensor:
    """Images ``[N, C, H, W]`` that a network finds as unlike class c as can be.

    Args:
        model: In evaluation mode; its weights do not move.
        c: The class.
        shape: ``(N, C, H, W)``.
        steps: Of Adam, learning rate 0.1.
        generator: Of the first noise, N(0, 1).
        toward: As *like* class c as can be.
        norm_weight: Of the mean squared norm of the images.

    Returns:
        The images.
    """
    z = torch.randn(shape, generator=generator, device=generator.device)
    z.requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=0.1)
    labels = torch.full((shape[0],), c, device=z.device)
    sign = 1 if toward else -1
    for _ in range(steps):
        fit = functional.cross_entropy(model(z), labels)
        size = z.square().sum((1, 2, 3)).mean()
        (z.grad,) = torch.autograd.grad(sign * fit + norm_weight * size, z)
        optimizer.step()
    return z.detach()


@method(
    "fastmu",
    title="FastMU",
    reads={"remaining"},
    cites=("tarun2023fast",),
    space={"impair_rate": Range(1e-4, 0.03), "repair_rate": Range(1e-4, 0.03)},
)
def fastmu(
    model: nn.Module,
    access: Access,
    *,
    impair_rate: float = 0.02,
    repair_rate: float = 0.01,
    per_class: int = 1000,
    n_noise: int = 256,
    copies: int = 20,
    steps: int = 40,
    batch_size: int = 256,
) -> nn.Module:
    """Impair with noise that stands for the class, then repair."""
    images = access.images("remaining", per_class=per_class)
    generator, shape = access.generator, (n_noise, *access.data.input_shape)
    model.eval()
    noise = torch.cat(
        [hostile_noise(model, c, shape, steps, generator) for c in access.classes]
    )
    named = torch.tensor(access.classes, device=noise.device).repeat_interleave(n_noise)

    # A shuffled epoch over both: each batch holds its share of noise.
    n_steps = math.ceil((len(images.train) + copies * len(noise)) / batch_size)
    real_batch = math.ceil(len(images.train) / n_steps)
    n_steps = math.ceil(len(images.train) / real_batch)
    noise_batch = math.ceil(copies * len(noise) / n_steps)

    def with_noise(inputs: Tensor, labels: Tensor) -> Tensor:
        drawn = torch.randint(
            len(noise), (noise_batch,), generator=generator, device=noise.device
        )
        x = torch.cat([inputs, noise[drawn]])
        return functional.cross_entropy(model(x), torch.cat([labels, named[drawn]]))

    training(model)
    batches = images.shuffled(real_batch, generator)
    descend(with_noise, batches, adam(model, impair_rate))
    batches = images.shuffled(batch_size, generator)
    descend(cross_entropy(model), batches, adam(model, repair_rate))
    return model
