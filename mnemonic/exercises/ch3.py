"""Checks of chapter 3, the Fisher."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnemonic.codes import MnemonicCodes
from mnemonic.exercises.answers import alike, attempted, chosen, done, expect
from mnemonic.fisher.diagonal import diagonal_fisher
from mnemonic.fisher.errors import compare_fishers
from mnemonic.networks.running import seeded


def predict(answer: str, model: nn.Module, codes: MnemonicCodes) -> None:
    """What becomes of the Fisher on the codes if the last layer is times ten?"""
    chosen(("vanishes", "stays", "grows"), answer)
    surer = copy.deepcopy(model)
    with torch.no_grad():
        for weight in list(surer.parameters())[-2:]:
            weight *= 10
    fishers = (diagonal_fisher(m, codes.images, codes.labels) for m in (model, surer))
    before, after = (float(sum(f.sum() for f in fs.values())) for fs in fishers)
    ratio = after / before
    truth = "vanishes" if ratio < 0.1 else "grows" if ratio > 10 else "stays"
    expect(answer == truth, "the error of the answer is squared: how large is it now?")
    done(f"In total it is {before:.0e} before and {after:.0e} after.")


def change(fisher_of_batches: Callable[..., dict[str, Tensor]]) -> None:
    """Are these the squares of the mean gradients of batches, averaged over batches?"""
    model, inputs, labels = _tiny_network()
    for size in (1, 4, 12):
        found = attempted(fisher_of_batches(model, inputs, labels, size))
        gradients = [
            torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
            for x, y in zip(inputs.split(size), labels.split(size), strict=True)
        ]
        for name, *of_batches in zip(model.state_dict(), *gradients, strict=True):
            wanted = torch.stack(of_batches).square().mean(0)
            expect(alike(found[name], wanted), f"{name} differs in batches of {size}")
    done("Batches of one are the Fisher; one batch of all is the square of the mean.")


def implement(
    first_layer_fisher: Callable[[nn.Module, Tensor, int], Tensor],
    model: nn.Module,
    codes: MnemonicCodes,
) -> None:
    """Does it agree with ``diagonal_fisher`` for every code?"""
    for c in range(len(codes.images)):
        image = codes.images[c : c + 1]
        found = attempted(first_layer_fisher(model, image, c))
        wanted = diagonal_fisher(model, image, codes.labels[c : c + 1])["1.weight"]
        expect(found.shape == wanted.shape, f"its shape should be {list(wanted.shape)}")
        expect(alike(found, wanted, rtol=0.05), f"it differs on the code of class {c}")
    done("Three matrix products, and no backward pass.")


def critique(
    true_fisher: Callable[[nn.Module, Tensor], dict[str, Tensor]],
    model: nn.Module,
    codes: MnemonicCodes,
) -> None:
    """Is it the sum over all answers, each with its own probability?"""
    tiny, inputs, _ = _tiny_network()
    found = attempted(true_fisher(tiny, inputs))
    with torch.no_grad():
        p = tiny(inputs).softmax(1)
    for name in dict(tiny.named_parameters()):
        wanted = sum(
            float(p[n, k])
            * diagonal_fisher(tiny, inputs[n : n + 1], torch.tensor([k]))[name]
            for n in range(12)
            for k in range(3)
        )
        expect(alike(found[name], wanted / 12), f"{name}: weigh each answer by its p")
    empirical = diagonal_fisher(model, codes.images, codes.labels)
    rank = compare_fishers(empirical, true_fisher(model, codes.images)).rank_correlation
    done(f"On the codes the two have a rank correlation of {rank:.2f}.")


def _tiny_network() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of three classes with twelve images and labels, for brute force."""
    with seeded(0):
        layers = [nn.Flatten(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)]
        inputs = torch.rand(12, 1, 2, 2)
    return nn.Sequential(*layers), inputs, torch.arange(12) % 3
