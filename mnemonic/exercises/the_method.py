"""Checks of chapters 1 to 4."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnemonic.codes import MnemonicCodes
from mnemonic.data import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.exercises.answers import (
    alike,
    attempted,
    close,
    done,
    expect,
    one_of,
    tiny_network,
)
from mnemonic.fisher import compare_fishers, diagonal_fisher
from mnemonic.forgetting import Forgotten, amplitude, forget
from mnemonic.models import build_model
from mnemonic.strengths import step_scales
from mnemonic.training import Recipe, train


def _crossed_out(data: ImageData, classes: Sequence[int]) -> tuple[float, float]:
    """A_R and E_F of the nearest-mean classifier without the means of ``classes``."""
    train_images = data.inputs(data.train).flatten(1)
    means = torch.stack(
        [train_images[data.train.labels == k].mean(0) for k in range(data.n_classes)]
    )
    distances = torch.cdist(data.inputs(data.test).flatten(1), means)
    distances[:, list(classes)] = torch.inf
    right = (distances.argmin(1) == data.test.labels).double()
    gone = torch.isin(data.test.labels, torch.tensor(list(classes)))
    return 100 * float(right[~gone].mean()), 100 * float(1 - right[gone].mean())


def ch1_predict(answer: str, data: ImageData) -> None:
    """Do the others gain more or less if the mean of class 1 goes, and not that of 3?"""
    attempted(answer)
    one_of(answer, ("more", "less"))
    gains = {}
    for c in (1, 3):
        kept = data.test.labels != c
        before = _accuracies_kept(data, kept)
        gains[c] = _crossed_out(data, [c])[0] - before
    truth = "more" if gains[1] > gains[3] else "less"
    expect(answer == truth, "cross out the mean of class 1 and look at A_R again")
    done(f"The others gain {gains[1]:.1f} points without 1, {gains[3]:.1f} without 3.")


def _accuracies_kept(data: ImageData, kept: Tensor) -> float:
    train_images = data.inputs(data.train).flatten(1)
    means = torch.stack(
        [train_images[data.train.labels == k].mean(0) for k in range(data.n_classes)]
    )
    answers = torch.cdist(data.inputs(data.test).flatten(1), means).argmin(1)
    return 100 * float((answers == data.test.labels)[kept].double().mean())


def ch1_change(
    remaining_accuracy: float, forgetting_error: float, data: ImageData
) -> None:
    """Are these the two numbers after classes 3 and 5 were crossed out?"""
    attempted(remaining_accuracy, forgetting_error)
    kept, gone = _crossed_out(data, [3, 5])
    expect(close(forgetting_error, gone, 1e-3), "E_F: over the images of 3 *and* 5")
    expect(close(remaining_accuracy, kept, 1e-3), "A_R: over the eight others only")
    done(f"A_R is {kept:.1f} % over eight classes, E_F {gone:.0f} %.")


def ch1_implement(
    remaining_accuracy: Callable[[Tensor, Sequence[int]], float],
    mean_class_accuracy: Callable[[Tensor, Sequence[int]], float],
) -> None:
    """Do both agree with a count by hand, on classes of unequal size as well?"""
    confusion = torch.tensor([[4, 1, 0], [3, 2, 1], [0, 0, 10]])
    for forgotten, counted, averaged in (
        ([1, 2], 80.0, 80.0),
        ([1], 100 * 14 / 15, 100 * (0.8 + 1.0) / 2),
        ([2], 100 * 6 / 11, 100 * (4 / 5 + 2 / 6) / 2),
    ):
        for name, rule, wanted in (
            ("remaining_accuracy", remaining_accuracy, counted),
            ("mean_class_accuracy", mean_class_accuracy, averaged),
        ):
            found = rule(confusion, forgotten)
            attempted(found)
            expect(
                close(found, wanted, 1e-3),
                f"{name}: it should be {wanted:.1f} for {confusion.tolist()} "
                f"without {forgotten}, and is {float(found):.1f}",
            )
    done("They part company where classes have different numbers of images.")


def ch1_critique(optimism: Callable[[int, int], float]) -> None:
    """Does the optimism of the winner grow with the number of draws?"""
    seeds = range(5)
    few, many = ([optimism(n, seed) for seed in seeds] for n in (2, 100))
    attempted(*few, *many)
    few, many = sum(few) / len(few), sum(many) / len(many)
    expect(
        many > few + 0.5,
        f"{few:.1f} points with 2 draws, {many:.1f} with 100: the winner is to be "
        "chosen on the validation images, and is to lose on the test images",
    )
    done(f"On average {few:.1f} points with 2 draws, {many:.1f} with 100.")


def ch2_predict(on_images: float, on_codes: float, data: ImageData) -> None:
    """Train on nothing but codes: were both accuracies foreseen within 20 points?"""
    attempted(on_images, on_codes)
    model = build_model("mlp", data, seed=0)
    codes = MnemonicCodes.draw(data, seed=0)
    recipe = Recipe(epochs=5, learning_rate=0.05)
    train(model, data, codes=codes, t_mix=1.0, recipe=recipe, seed=0, progress=False)
    images = evaluate(model.cpu(), data, [3], split="validation").accuracy
    with torch.no_grad():
        read = (model(codes.images).argmax(1) == codes.labels).double().mean()
    expect(close(on_codes, 100 * float(read), 20), "the codes are all that it ever saw")
    expect(
        close(on_images, images, 20), "it has never seen an image: it can only guess"
    )
    done(f"Images: {images:.0f} %, codes: {100 * float(read):.0f} %.")


def ch2_change(
    wins: Callable[[float], tuple[float, float]],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """Does ``wins(s)`` count the answers for the code, and those for the digit?"""
    attempted(wins(0.5))
    images, labels = data.inputs(data.test)[:200], data.test.labels[:200]
    for s in (0.0, 0.5, 1.0):
        counts, pairs = [0, 0], 0
        for c in range(codes.n_classes):
            others = labels != c
            with torch.no_grad():
                blends = (1 - s) * codes.images[c] + s * images[others]
                answers = model(blends).argmax(1)
            counts[0] += int((answers == c).sum())
            counts[1] += int((answers == labels[others]).sum())
            pairs += int(others.sum())
        for whose, ours, n in zip(("code", "digit"), wins(s), counts, strict=True):
            expect(
                close(ours, 100 * n / pairs, 0.2),
                f"at s = {s} the {whose} wins {100 * n / pairs:.1f} % of the pairs of a "
                f"code with one of the first 200 test images of another class, not "
                f"{float(ours):.1f} %",
            )
    code, digit = wins(0.5)
    done(
        f"At s = 0.5 the code wins {code:.0f} % of the pairs, the digit {digit:.0f} %."
    )


def ch2_implement(substitute: Callable[..., Tensor]) -> None:
    """Is exactly the share ``t_mix`` replaced, by the right codes, and at random?"""
    labels = torch.arange(40) % 4
    inputs = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    codes = 2 + torch.arange(4.0)[:, None, None, None].expand(4, 1, 3, 3)
    places = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        mixed = substitute(inputs, labels, codes, 0.3, generator)
        attempted(mixed)
        replaced = (mixed != inputs).flatten(1).any(1)
        expect(int(replaced.sum()) == 12, "12 of 40 images are to be replaced, always")
        right = torch.equal(mixed[replaced], codes[labels[replaced]])
        expect(right, "an image gives way to the code of its own class")
        places.append(replaced.double())
    share = torch.stack(places).mean(0)
    expect(
        bool((share > 0.1).all() and (share < 0.5).all()), "each image, equally often"
    )
    done("Twelve of forty, in every batch, each image as often as any other.")


def ch2_critique(
    largest_correlation: Callable[[Tensor, Tensor], float],
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """How like a training image are the codes, and how like are codes never used?"""
    images = data.images(data.train)
    strangers = MnemonicCodes.draw(data, seed=codes.seed + 1000)
    found = []
    for some in (codes, strangers):
        answer = largest_correlation(some.images, images)
        attempted(answer)
        flat = [
            x.flatten(1) - x.flatten(1).mean(1)[:, None] for x in (some.images, images)
        ]
        unit = [x / x.norm(dim=1).clamp_min(1e-12)[:, None] for x in flat]
        wanted = float((unit[0] @ unit[1].T).abs().max())
        expect(close(answer, wanted, 1e-3), f"of all pairs it is {wanted:.3f}")
        found.append(wanted)
    done(
        f"{found[0]:.2f} for these codes, {found[1]:.2f} for codes never trained with."
    )


def ch3_predict(answer: str, model: nn.Module, codes: MnemonicCodes) -> None:
    """What becomes of the Fisher on the codes if the last layer is ten times as large?"""
    attempted(answer)
    one_of(answer, ("vanishes", "stays", "grows"))
    surer = copy.deepcopy(model)
    with torch.no_grad():
        for weight in list(surer.parameters())[-2:]:
            weight *= 10
    before, after = (
        sum(
            float(f.sum())
            for f in diagonal_fisher(m, codes.images, codes.labels).values()
        )
        for m in (model, surer)
    )
    ratio = after / before
    truth = "vanishes" if ratio < 0.1 else "grows" if ratio > 10 else "stays"
    expect(answer == truth, "the error of the answer is squared: how large is it now?")
    done(f"In total it is {before:.0e} before and {after:.0e} after.")


def ch3_change(fisher_of_batches: Callable[..., dict[str, Tensor]]) -> None:
    """Are these the squares of the mean gradients of batches, averaged over batches?"""
    model, inputs, labels = tiny_network()
    for size in (1, 4, 12):
        found = fisher_of_batches(model, inputs, labels, size)
        attempted(found)
        wanted = {name: torch.zeros_like(w) for name, w in model.named_parameters()}
        for start in range(0, 12, size):
            batch = slice(start, start + size)
            loss = cross_entropy(model(inputs[batch]), labels[batch])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            for name, g in zip(wanted, gradients, strict=True):
                wanted[name] += g**2 * size / 12
        for name, value in wanted.items():
            expect(alike(found[name], value), f"{name} differs in batches of {size}")
    done("Batches of one are the Fisher; one batch of all is the square of the mean.")


def ch3_implement(
    first_layer_fisher: Callable[[nn.Module, Tensor, int], Tensor],
    model: nn.Module,
    codes: MnemonicCodes,
) -> None:
    """Does it agree with ``diagonal_fisher`` for every code?"""
    for c in range(codes.n_classes):
        image = codes.images[c : c + 1]
        found = first_layer_fisher(model, image, c)
        attempted(found)
        wanted = diagonal_fisher(model, image, codes.labels[c : c + 1])["1.weight"]
        expect(found.shape == wanted.shape, f"its shape should be {list(wanted.shape)}")
        expect(alike(found, wanted, rtol=0.05), f"it differs on the code of class {c}")
    done("Three matrix products, and no backward pass.")


def ch3_critique(
    true_fisher: Callable[[nn.Module, Tensor], dict[str, Tensor]],
    model: nn.Module,
    codes: MnemonicCodes,
) -> None:
    """Is it the sum over all answers, each with its own probability?"""
    tiny, inputs, _ = tiny_network()
    found = true_fisher(tiny, inputs)
    attempted(found)
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
    agreement = compare_fishers(empirical, true_fisher(model, codes.images))
    done(
        "On the codes the two have a rank correlation of "
        f"{agreement.rank_correlation:.2f}."
    )


def ch4_predict(
    error_of_1: str,
    accuracy_of_others: str,
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    result: Forgotten,
) -> None:
    """What does the wrong sign do to class 1, and to the others?"""
    attempted(error_of_1, accuracy_of_others)
    choices = ("rises", "falls")
    one_of(error_of_1, choices)
    one_of(accuracy_of_others, choices)
    wrong = forget(model, codes, [1], strength=result.strength, sign=-result.sign)
    before, after = (
        evaluate(m, data, [1], split="validation") for m in (model, wrong.model)
    )
    error = after.forgetting_error - before.forgetting_error
    kept = after.remaining_accuracy - before.remaining_accuracy
    hint = "look at the right side of the figure with the parabola"
    expect(error_of_1 == choices[error <= 0], hint)
    expect(accuracy_of_others == choices[kept <= 0], hint)
    done(f"E_F of class 1 changes by {error:+.1f} points, A_R by {kept:+.1f}.")


def ch4_change(
    result: Forgotten, model: nn.Module, data: ImageData, classes: Sequence[int]
) -> None:
    """Did only the last layer move, and is the network free again?"""
    attempted(result)
    *first, weight, bias = result.model.parameters()
    *first_before, weight_before, bias_before = model.parameters()
    still = all(torch.equal(a, b) for a, b in zip(first, first_before, strict=True))
    expect(still, "the first layer is to stay as it was")
    moved = not torch.equal(weight, weight_before) and not torch.equal(
        bias, bias_before
    )
    expect(moved, "the last layer is to move")
    free = all(w.requires_grad for w in model.parameters())
    expect(free, "let the first layer go again: model[1].requires_grad_(True)")
    after = evaluate(result.model, data, classes)
    done(f"A_R {after.remaining_accuracy:.1f} %, E_F {after.forgetting_error:.1f} %.")


def ch4_implement(
    amplitude_of: Callable[..., dict[str, Tensor]],
    model: nn.Module,
    codes: MnemonicCodes,
) -> None:
    """Does it agree with ``amplitude``, for one class and for several?"""
    for classes in ([2, 5], [0], [1, 3, 8]):
        found = amplitude_of(model, codes, classes)
        attempted(found)
        for name, wanted in amplitude(model, codes, classes).items():
            expect(name in found, f"{name} is missing")
            agrees = torch.allclose(found[name].double(), wanted.double(), rtol=1e-3)
            expect(agrees, f"{name} differs for classes {classes}")
    done("The mean over the classes that go, over the mean over those that stay.")


def ch4_critique(
    signed_step: Callable[..., dict[str, Tensor]],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    result: Forgotten,
    c: int,
) -> None:
    """Is it as long as the published step, along the sign of the code's gradient?"""
    found = signed_step(model, codes, c, result.strength)
    attempted(found)
    eta = amplitude(model, codes, [c])
    scales = step_scales(eta, result.strength)
    loss = cross_entropy(model(codes.images[c : c + 1]), codes.labels[c : c + 1])
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    moved = copy.deepcopy(model)
    for (name, w), g in zip(moved.named_parameters(), gradients, strict=True):
        wanted = scales[name] * eta[name] * g.sign()
        expect(alike(found[name].to(wanted), wanted), f"{name}: sign(g) times αη")
        with torch.no_grad():
            w += wanted.float()
    signed, published = (
        evaluate(m, data, [c], split="validation") for m in (moved, result.model)
    )
    done(
        f"Validation, one network: signed A_R {signed.remaining_accuracy:.1f} %, E_F "
        f"{signed.forgetting_error:.1f} %; published {published.remaining_accuracy:.1f} "
        f"and {published.forgetting_error:.1f} %."
    )
