"""Checks of chapter 4, forgetting."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.exercises.answers import alike, attempted, chosen, done, expect, validated
from mnemonic.forgetting.one_shot import forget
from mnemonic.forgetting.report import Forgotten
from mnemonic.forgetting.step import amplitude
from mnemonic.forgetting.strengths import Strength, step_scales


def predict(
    error_of_8: str,
    accuracy_of_others: str,
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    result: Forgotten,
) -> None:
    """What does the wrong sign do to class 8, and to the others?"""
    choices = ("rises", "falls", "stays")
    chosen(choices, error_of_8, accuracy_of_others)
    wrong = forget(
        model, codes, [8], **result.settings | {"sign": -result.settings["sign"]}
    )
    before, after = (validated(m, data, [8]) for m in (model, wrong.model))
    error = after.forgetting_error - before.forgetting_error
    kept = after.remaining_accuracy - before.remaining_accuracy
    hint = "look at the right side of the figure with the parabola"
    for answer, change in ((error_of_8, error), (accuracy_of_others, kept)):
        truth = "rises" if change > 0 else "falls" if change < 0 else "stays"
        expect(answer == truth, hint)
    done(f"E_F of class 8 changes by {error:+.1f} points, A_R by {kept:+.1f}.")


def change(
    result: Forgotten, model: nn.Module, data: ImageData, classes: Sequence[int]
) -> None:
    """Did only the last layer move, and is the network free again?"""
    attempted(result)
    same = set(result.classes) == set(classes)
    expect(same, f"forget {classes}, not {list(result.classes)}")
    *first, weight, _ = result.model.parameters()
    *first_before, weight_before, _ = model.parameters()
    still = all(torch.equal(a, b) for a, b in zip(first, first_before, strict=True))
    expect(still, "the first layer is to stay as it was")
    expect(not torch.equal(weight, weight_before), "the last layer is to move")
    free = all(w.requires_grad for w in model.parameters())
    expect(free, "let the first layer go again: model[1].requires_grad_(True)")
    after = evaluate(result.model, data, classes)
    done(f"A_R {after.remaining_accuracy:.1f} %, E_F {after.forgetting_error:.1f} %.")


def implement(
    amplitude_of: Callable[..., dict[str, Tensor]],
    model: nn.Module,
    codes: MnemonicCodes,
) -> None:
    """Does it agree with ``amplitude``, for one class and for several?"""
    for classes in ([2, 5], [0], [1, 3, 8]):
        found = attempted(amplitude_of(model, codes, classes))
        for name, wanted in amplitude(model, codes, classes).items():
            expect(name in found, f"{name} is missing")
            agrees = torch.allclose(found[name].double(), wanted.double(), rtol=1e-3)
            expect(agrees, f"{name} differs for classes {classes}")
    done("The mean over the classes that go, over the mean over those that stay.")


def critique(
    signed_step: Callable[..., dict[str, Tensor]],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    result: Forgotten,
    c: int,
) -> None:
    """Is it as long as the published step, along the sign of the code's gradient?"""
    strength = result.settings["strength"]
    found = attempted(signed_step(model, codes, c, strength))
    for name, wanted in _signed(model, codes, c, strength).items():
        expect(alike(found[name].to(wanted), wanted), f"{name}: sign(g) times αη")
    said = []
    for k in range(len(codes.images)):
        published = quietly_forget(model, codes, [k])
        step = _signed(model, codes, k, published.settings["strength"])
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, w in moved.named_parameters():
                w += step[name].float()
        pair = (validated(m, data, [k]) for m in (moved, published.model))
        said.append([(s.remaining_accuracy, s.forgetting_error) for s in pair])
    signed, published = torch.tensor(said).mean(0).tolist()
    text = "{} A_R {:.1f} %, E_F {:.1f} %".format
    done(
        f"Validation images, mean over all classes: {text('signed', *signed)}; "
        f"{text('published', *published)}."
    )


def _signed(
    model: nn.Module, codes: MnemonicCodes, c: int, strength: Strength
) -> dict[str, Tensor]:
    """The step along the sign of the code's gradient, as long as the published one."""
    eta = amplitude(model, codes, [c])
    scales = step_scales(eta, strength)
    loss = cross_entropy(model(codes.images[c : c + 1]), codes.labels[c : c + 1])
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    pairs = zip(eta, gradients, strict=True)
    return {name: scales[name] * eta[name] * g.sign() for name, g in pairs}
