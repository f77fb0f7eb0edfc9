"""Checks of chapter 14, generators."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mnemonic.data.arrays import ImageData
from mnemonic.exercises.answers import attempted, chosen, done, expect, near
from mnemonic.lab.generators import VAE, Scorer, batched
from mnemonic.lab.surgery import operated
from mnemonic.networks.running import copied
from mnemonic.storage import generator_for


def predict(harm: str, vae: VAE, data: ImageData, c: int) -> None:
    """One step of twice the length: twice the harm to the rest, or four times?"""
    choices = ("twice", "four times")
    chosen(choices, harm)
    images = data.images(data.train)
    of_class = data.train.labels == c
    parts = images[of_class][:64], images[~of_class][::50]

    def loss(model: VAE, part: Tensor) -> Tensor:
        return model.losses(part, generator_for("exercise", 0)).mean()

    def harmed(rate: float) -> float:
        model = copied(vae)
        model.encoder.requires_grad_(False)
        losses = [partial(loss, model, part) for part in parts]
        before = float(losses[1]().detach())
        next(operated(model, *losses, "surgery", rate))
        return float(losses[1]().detach()) - before

    once, double = harmed(1e-3), harmed(2e-3)
    truth = choices[int(double > 2.9 * once)]
    expect(harm == truth, "to first order it is nothing: what is the next term?")
    done(f"{once:.3f} nats, and {double:.3f}.")


def change(
    before: float, after: float, scorer: Scorer, vae: VAE, operated_on: VAE
) -> None:
    """Are these the shares of the other digit among 1,000 samples of seed 0?"""
    attempted(before, after)
    for name, said, model in (("before", before, vae), ("after", after, operated_on)):
        truth = scorer(model, 0)["share"]
        near(said, truth, 0.05, f"{name}: of 1,000 samples of seed 0 it is {truth:.1f}")
    expect(after < before, "it draws as many as before: take more steps")
    done(f"{before:.1f} % of the samples, and then {after:.1f} %.")


def implement(each: Callable[[list[Tensor], list[Tensor]], list[Tensor]]) -> None:
    """Is each tensor's gradient at a right angle to its own part of the other?"""
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": torch.double}
    shapes = ((3, 4), (3,), (2, 3))
    g_f, g_r = ([torch.randn(s, **draw) for s in shapes] for _ in range(2))
    found = attempted(each([g.clone() for g in g_f], [g.clone() for g in g_r]))
    for f, r, mine in zip(g_f, g_r, found, strict=True):
        expect(mine.shape == f.shape, "give one tensor a tensor, of its shape")
        angle = "the product of each tensor with its part of g_R is to be 0"
        near((mine * r).sum(), 0, 1e-9, angle)
        truth = f - (f * r).sum() / (r * r).sum() * r
        hint = "take away the part along g_R, and nothing else"
        expect(torch.allclose(mine, truth), hint)
    done(f"{len(shapes)} right angles in place of one.")


def critique(vendors: VAE, vae: VAE, data: ImageData, c: int) -> None:
    """Has it a loss on the digit that is ten times as large, and the same samples?"""
    attempted(vendors)
    losses = [
        float(batched(model, data, c, seed=0)[0]().detach()) for model in (vae, vendors)
    ]
    hint = f"the loss on the digit is {losses[1]:.0f} nats and was {losses[0]:.0f}"
    expect(losses[1] > 10 * losses[0], hint)
    same = torch.equal(vae.samples(100, 0), vendors.samples(100, 0))
    expect(same, "the samples have changed: which part draws them?")
    done(f"{losses[0]:.0f} nats became {losses[1]:.0f}, and no sample changed.")
