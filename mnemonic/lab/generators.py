"""Generators that forget a digit, and what becomes of their samples.

The generator is a small variational autoencoder (Kingma and Welling 2014). Whoever
draws samples has its decoder alone, so that is what ``mnemonic.lab.surgery`` moves. A
classifier counts the digit among samples, and its features say how far the others are
from images: a Fréchet distance as in Heusel et al. 2017, by a network of our own.

Example:
    >>> features = torch.eye(3)
    >>> abs(frechet(features, features + 1) - 3) < 1e-9
    True
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.data.arrays import ImageData, named_split
from mnemonic.data.splits import belongs
from mnemonic.lab.profiles import Profile
from mnemonic.lab.surgery import operated
from mnemonic.networks.layers import head_of
from mnemonic.networks.running import copied, seeded
from mnemonic.storage import generator_for

LATENT, HIDDEN = 4, 256
LOOKS = (1, 3, 6, 10, 15, 20, 30, 40)  # steps after which samples are counted
ENOUGH = 1.0  # percent of the samples, so that of others it is less than two


class VAE(nn.Module):
    """A variational autoencoder of two small networks, for images in [0, 1].

    Args:
        shape: ``(C, H, W)`` of an image.
    """

    def __init__(self, shape: tuple[int, int, int]):
        super().__init__()
        pixels = torch.Size(shape).numel()

        def network(inside: int, outside: int) -> nn.Module:
            sizes = (inside, HIDDEN, HIDDEN, outside)
            one, two, three = (nn.Linear(*sizes[i : i + 2]) for i in range(3))
            return nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)

        self.encoder = nn.Sequential(nn.Flatten(), network(pixels, 2 * LATENT))
        self.decoder = nn.Sequential(network(LATENT, pixels), nn.Unflatten(1, shape))

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Negative ELBO of each image, nats: cross-entropy of the pixels, and KL.

        Args:
            images: ``[N, C, H, W]``.
            generator: Draws one latent vector an image.

        Returns:
            Shape ``[N]``.
        """
        mean, log_sd = self.encoder(images).chunk(2, 1)  # [N, LATENT] each
        noise = torch.randn(mean.shape, generator=generator)
        drawn = self.decoder(mean + log_sd.exp() * noise)
        entropy = functional.binary_cross_entropy_with_logits
        pixels = entropy(drawn, images, reduction="none").flatten(1).sum(1)
        kl = 0.5 * (mean**2 + (2 * log_sd).exp() - 1) - log_sd
        return pixels + kl.sum(1)

    @torch.no_grad()
    def samples(self, n: int, seed: int) -> Tensor:
        """New images ``[n, C, H, W]``, in [0, 1], from the noise of a seed."""
        noise = torch.randn(n, LATENT, generator=generator_for("samples", seed))
        return self.decoder(noise).sigmoid()


def trained_vae(data: ImageData, seed: int, *, epochs: int = 10) -> VAE:
    """Train a small autoencoder on the training images; seconds, on a CPU.

    Args:
        data: In memory; its labels are not read.
        seed: Of first weights, order and noise.
        epochs: Passes over the training images.

    Returns:
        The autoencoder.
    """
    with seeded(seed):
        model = VAE(data.input_shape)
    images, generator = data.images(data.train), generator_for("vae", seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator).split(64):
            optimizer.zero_grad()
            model.losses(images[chosen], generator).mean().backward()
            optimizer.step()
    return model


class Scorer:
    """Counts a digit among samples, and measures the quality of the rest.

    Args:
        judge: A classifier of the data.
        data: Gives images to compare with.
        c: The digit.
        split: ``"validation"`` to choose, ``"test"`` to tell.
    """

    def __init__(self, judge: nn.Module, data: ImageData, c: int, split: str):
        self.judge, self.data, self.c = judge, data, c
        part = named_split(data, split)
        of_class = belongs(part.labels, [c])
        self.forget = data.images(part, of_class)
        self.rest = data.images(part, ~of_class)
        _, self.theirs = self.answers(self.rest)

    @torch.no_grad()
    def answers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of the judge, to images in [0, 1]: classes ``[N]``, features ``[N, D]``."""
        mean, sd = (v[:, None, None] for v in (self.data.mean, self.data.std))
        _, _, features, logits = head_of(self.judge, (images - mean) / sd)
        return logits.argmax(1), features

    @torch.no_grad()
    def __call__(
        self, model: VAE, seed: int, *, more: bool = False
    ) -> dict[str, float]:
        """Score a generator by 1,000 samples of a seed.

        Returns:
            ``share`` of the samples that the judge calls c, percent, and ``rest``, mean
            negative ELBO of images of the others, nats. If ``more`` is asked for, also
            ``forget``, that of images of c, and the ``distance`` of 500 samples not
            called c to images of the others.
        """
        classes, features = self.answers(model.samples(1000, seed))
        found = {"share": 100 * float((classes == self.c).double().mean())}
        for name in ("rest", "forget")[: 1 + more]:
            noise = generator_for("scores", 0)
            found[name] = float(model.losses(getattr(self, name), noise).mean())
        if more:
            found["distance"] = frechet(features[classes != self.c][:500], self.theirs)
        return found


def frechet(ours: Tensor, theirs: Tensor) -> float:
    """Fréchet distance of two Gaussians with the moments of features ``[N, D]``."""
    a, b = (f.double() for f in (ours, theirs))
    apart = a.mean(0) - b.mean(0)
    a, b = ((f - f.mean(0)) / max(len(f) - 1, 1) ** 0.5 for f in (a, b))
    # The trace of (AᵀA BᵀB)^(1/2) is the sum of the singular values of A Bᵀ.
    common = torch.linalg.svdvals(a @ b.T).sum()
    return float(apart @ apart + (a**2).sum() + (b**2).sum() - 2 * common)


def batched(
    model: VAE, data: ImageData, c: int, seed: int, n: int = 64
) -> list[Callable[[], Tensor]]:
    """Mean losses on n images of c and n others, drawn anew each time."""
    of_class, generator = (
        belongs(data.train.labels, [c]),
        generator_for("batches", seed),
    )

    def loss(images: Tensor) -> Tensor:
        chosen = torch.randint(len(images), (n,), generator=generator)
        return model.losses(images[chosen], generator).mean()

    parts = (of_class, ~of_class)
    return [partial(loss, data.images(data.train, part)) for part in parts]


def forgotten(
    seed: int, profile: str, plans: list, c: int, split: str, last: int, epochs: int
) -> list[dict]:
    """Operate on the decoder of one generator by several plans: a cell of a grid.

    Args:
        seed: Of generator, judge and batches.
        profile: Of the judge and the data.
        plans: Each ``[rule, optimizer, rate]``.
        c: The digit.
        split: As in ``Scorer``.
        last: Steps in all; one of ``LOOKS``.
        epochs: Of the generator.

    Returns:
        One row a plan and look, with ``step`` and what ``operated`` and ``Scorer`` say.
        The ``first`` look below ``ENOUGH``, the last, and the generators as they are,
        ``"before"`` and one that ``"never saw"`` the digit, are told by samples that
        decided nothing. Looks end where samples are no longer finite.
    """
    settings = Profile.named(profile)
    data = settings.load()
    judge, _ = settings.trained(data, seed)
    score = Scorer(judge, data, c, split)
    original = trained_vae(data, seed, epochs=epochs)
    never = trained_vae(data.without([c]), seed + 500, epochs=epochs)
    rows = [
        {"rule": name, "step": 0} | score(model, seed + 1000, more=True)
        for name, model in (("before", original), ("never saw", never))
    ]
    for rule, optimizer, rate in plans:
        model, done = copied(original), False
        model.encoder.requires_grad_(False)  # it makes no sample
        losses = batched(model, data, c, seed)
        steps = operated(model, *losses, rule, rate, optimizer=optimizer)
        for step, told in zip(range(1, last + 1), steps, strict=False):
            if step not in LOOKS:
                continue
            if not model.samples(2, seed).isfinite().all():
                break
            row = {"rule": rule, "optimizer": optimizer, "rate": rate, "step": step}
            row |= told | score(model, seed)
            row["first"] = row["share"] < ENOUGH and not done
            done = done or row["first"]
            if row["first"] or step == last:
                row |= score(model, seed + 1000, more=True)
            rows.append(row)
    return rows
