"""Checks of chapters 5 to 8."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from mnemonic.audits import linear_probes, loss_attack, matched_losses, relearn
from mnemonic.baselines import METHODS
from mnemonic.codes import MnemonicCodes
from mnemonic.data import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.exercises.answers import (
    attempted,
    close,
    done,
    expect,
    one_of,
    same_weights,
)
from mnemonic.forgetting import Forgotten, forget
from mnemonic.models import build_model, last_layer
from mnemonic.strengths import Strength


def _row_zeroed(model: nn.Module, data: ImageData, c: int) -> nn.Module:
    zeroed = copy.deepcopy(model)
    _, layer = last_layer(zeroed, data.input_shape)
    with torch.no_grad():
        layer.weight[c] = 0
        layer.bias[c] = -1e4
    return zeroed


def _quietly(model: nn.Module, codes: MnemonicCodes, classes: Sequence[int], **given):
    with warnings.catch_warnings():  # that a code is not forgotten is looked at here
        warnings.simplefilter("ignore", RuntimeWarning)
        return forget(model, codes, classes, **given)


def ch5_predict(
    answer: float, probe: Callable[..., float], data: ImageData, c: int
) -> None:
    """What does a probe read in random weights? Foreseen within 15 points?"""
    attempted(answer)
    truth = probe(build_model("mlp", data, seed=9), data, c)
    expect(close(answer, truth, 15), "a thousand random features still hold the image")
    done(f"It reads {truth:.0f} % of the class in random weights.")


def ch5_change(answer: float, data: ImageData, c: int) -> None:
    """Does the same pipeline read so much of the class in the pixels?"""
    attempted(answer)
    reader = make_pipeline(PCA(100, random_state=0), LogisticRegression(max_iter=2000))
    reader.fit(data.inputs(data.train).flatten(1).numpy(), data.train.labels)
    of_class = data.test.take((data.test.labels == c).nonzero()[:, 0])
    pixels = data.inputs(of_class).flatten(1).numpy()
    truth = 100 * reader.score(pixels, of_class.labels)
    expect(close(answer, truth, 2), "fit on all training images, score on the class")
    done(f"A linear reader of pixels knows {truth:.0f} % of the class.")


def ch5_implement(
    is_row_zeroed: Callable[[nn.Module, int], bool],
    control: Callable[[nn.Module, int], nn.Module],
    model: nn.Module,
    forgot: nn.Module,
    data: ImageData,
    c: int,
) -> None:
    """Does the check find row zeroing, and does a control get past it?"""
    answers = [
        is_row_zeroed(network, c)
        for network in (model, forgot, _row_zeroed(model, data, c))
    ]
    attempted(*answers)
    expect(bool(answers[2]), "it does not notice that the row is zero")
    expect(not answers[0] and not answers[1], "it accuses an honest network")
    quiet = control(copy.deepcopy(model), c)
    attempted(quiet)
    expect(not is_row_zeroed(quiet, c), "your own check finds your control")
    before, after = (evaluate(m, data, [c]) for m in (model, quiet))
    expect(after.forgetting_error >= 99, "the control is to answer the class no more")
    kept = after.remaining_accuracy >= before.remaining_accuracy - 1
    expect(kept, "the control is to keep the others")
    done(f"The control has E_F {after.forgetting_error:.0f} % and passes your check.")


def ch5_critique(
    is_gone: Callable[[nn.Module], bool], networks: Mapping[str, nn.Module]
) -> None:
    """Does it let through the network that never knew, and no other?"""
    answers = {name: is_gone(network) for name, network in networks.items()}
    attempted(*answers.values())
    for name, answer in answers.items():
        wanted = name == "retrained"
        expect(bool(answer) == wanted, f"of the {name} network it says {bool(answer)}")
    done(f"Of {', '.join(answers)}, only the last passes.")


def _last_only(model: nn.Module) -> nn.Module:
    free = copy.deepcopy(model)
    *first, _, _ = free.parameters()
    for weight in first:
        weight.requires_grad_(False)
    return free


def ch6_predict(
    error: str,
    accuracy: str,
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    c: int,
) -> None:
    """At a large λ1, if only the last layer moves: the same, higher or lower?"""
    attempted(error, accuracy)
    choices = ("the same", "higher", "lower")
    one_of(error, choices)
    one_of(accuracy, choices)
    scores = []
    for network in (model, _last_only(model)):
        result = _quietly(network, codes, [c], strength=Strength(0.1, 1000.0), sign=-1)
        scores.append(evaluate(result.model, data, [c], split="validation"))
    everything, last = scores
    gains = {
        "E_F": last.forgetting_error - everything.forgetting_error,
        "A_R": last.remaining_accuracy - everything.remaining_accuracy,
    }
    for (name, gain), answer in zip(gains.items(), (error, accuracy), strict=True):
        truth = choices[0 if abs(gain) < 3 else 1 if gain > 0 else 2]
        expect(
            answer == truth, f"try λ1 = 0.1, λ2 = 1000 with both, and compare {name}"
        )
    done(
        f"The last layer alone: E_F {gains['E_F']:+.0f}, A_R {gains['A_R']:+.0f} points."
    )


def ch6_change(
    one_by_one: Callable[..., nn.Module],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """Is each class forgotten from the result of the last, and is it better so?"""
    rows = []
    for classes in ([3, 5], [3, 5, 8], [3, 5, 8, 0, 1]):
        found = one_by_one(model, codes, classes)
        attempted(found)
        wanted = model
        for k in classes:
            wanted = _quietly(wanted, codes, [k]).model
        expect(same_weights(found, wanted), f"it differs for the classes {classes}")
        at_once = _quietly(model, codes, classes).model
        for how, network in (("at once", at_once), ("one by one", found)):
            s = evaluate(network, data, classes, split="validation")
            sum_ = s.remaining_accuracy + s.forgetting_error
            rows.append({"classes": len(classes), "how": how, "A_R + E_F": sum_})
    table = pd.DataFrame(rows).pivot_table(index="classes", columns="how")["A_R + E_F"]
    done("A_R + E_F on validation images, one network:")
    print(table.round(1).to_string())


def ch6_implement(
    rule: Callable[[pd.DataFrame], object],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """Does the rule pick one of the candidates, and how good is it on validation?"""
    scores = {"yours": [], "the package's": []}
    for k in range(data.n_classes):
        ours = _quietly(model, codes, [k])
        index = rule(ours.candidates.copy())
        attempted(index)
        expect(index in ours.candidates.index, f"{index!r} is no row of candidates")
        row = ours.candidates.loc[index]
        given = Strength(row["lambda1"], row["lambda2"])
        yours = _quietly(model, codes, [k], strength=given, sign=int(row["sign"]))
        best = ours.candidates.eval("remaining_accuracy + forgetting_error").max()
        on_codes = row["remaining_accuracy"] + row["forgetting_error"]
        expect(
            on_codes > best - 1e-6, f"class {k}: other settings do better on the codes"
        )
        for whose, result in (("yours", yours), ("the package's", ours)):
            s = evaluate(result.model, data, [k], split="validation")
            scores[whose].append(s.remaining_accuracy + s.forgetting_error)
    said = (
        f"{w} {sum(s) / len(s):.1f} (worst {min(s):.1f})" for w, s in scores.items()
    )
    done(f"A_R + E_F on validation images, one network: {', '.join(said)}.")


def ch6_critique(
    result: Forgotten, model: nn.Module, codes: MnemonicCodes, data: ImageData, c: int
) -> None:
    """Was a strength between the decades tried, and chosen by the codes?"""
    attempted(result)
    decades = _quietly(model, codes, [c])
    exponent = torch.tensor(result.strength.lambda1).double().log10()
    expect(not close(exponent, exponent.round(), 1e-3), "λ1 is to lie between decades")
    with torch.no_grad():
        answers = result.model(codes.images).argmax(1)
    read = answers == codes.labels
    forgets = not read[c] and int(read.sum()) == codes.n_classes - 1
    expect(forgets, "choose by the codes: the code of the class goes, the others stay")
    finer, coarser = (
        evaluate(r.model, data, [c], split="validation") for r in (result, decades)
    )
    done(
        f"Between decades A_R + E_F is "
        f"{finer.remaining_accuracy + finer.forgetting_error:.1f} on validation images, "
        f"on decades {coarser.remaining_accuracy + coarser.forgetting_error:.1f}."
    )


def ch7_predict(no_images: set[str], forget_images_only: set[str]) -> None:
    """Are these the methods that work without images, or with forget images alone?"""
    attempted(no_images, forget_images_only)
    images = {"forget", "remaining"}
    free = {n for n, m in METHODS.items() if not m.reads & images}
    alone = {n for n, m in METHODS.items() if m.reads & images == {"forget"}}
    for name, ours, theirs in (
        ("no images", set(no_images), free),
        ("forget images only", set(forget_images_only), alone),
    ):
        extra, missing = len(ours - theirs), len(theirs - ours)
        hint = (
            f"{name}: {extra} too many and {missing} missing; ask METHODS[name].reads"
        )
        expect(not extra and not missing, hint)
    done(f"{len(free)} read no image, {len(alone)} those of the forget class alone.")


def ch7_change(
    networks: Mapping[str, nn.Module], model: nn.Module, data: ImageData
) -> None:
    """Do the four networks forget classes 3, 5 and 8 better than nothing does?"""
    attempted(networks)
    wanted = {"mnemonic", "delete", "ssd", "fastmu"}
    expect(
        set(networks) == wanted, f"one network for each of {', '.join(sorted(wanted))}"
    )
    attempted(*networks.values())
    classes = [3, 5, 8]
    before = evaluate(model, data, classes, split="validation")
    said = []
    for name, network in networks.items():
        after = evaluate(network, data, classes, split="validation")
        changed = not torch.equal(after.confusion, before.confusion)
        expect(changed, f"{name}: it answers like the network before")
        numbers = f"{after.remaining_accuracy:.0f} / {after.forgetting_error:.0f}"
        said.append(f"{name} {numbers}")
    done(f"A_R / E_F (%): {', '.join(said)}.")


def ch7_implement(
    mean_row: Callable[[nn.Module, int], nn.Module],
    model: nn.Module,
    data: ImageData,
    c: int,
) -> None:
    """Is the row of the class the mean of the others, and all else as it was?"""
    found = mean_row(copy.deepcopy(model), c)
    attempted(found)
    wanted = copy.deepcopy(model)
    _, layer = last_layer(wanted, data.input_shape)
    others = [k for k in range(data.n_classes) if k != c]
    with torch.no_grad():
        layer.weight[c] = layer.weight[others].mean(0)
        layer.bias[c] = layer.bias[others].mean()
    expect(same_weights(found, wanted), "row and bias: the mean of the nine others'")
    after = evaluate(found, data, [c], split="validation")
    done(f"A_R {after.remaining_accuracy:.1f} %, E_F {after.forgetting_error:.1f} %.")


def ch7_critique(beats: Callable[[Sequence[float], Sequence[float]], bool]) -> None:
    """Is a difference no finding where one seed or the spread can explain it?"""
    cases = [
        ("one seed", [191.0], [190.0], False),
        ("one point, with a spread of three", [193, 188, 194], [190, 191, 191], False),
        ("one point on every seed", [191.0, 190.9, 191.1, 191.0], [190.0] * 4, True),
        ("one point less", [189.0, 188.9, 189.1, 189.0], [190.0] * 4, False),
    ]
    for what, ours, theirs, wanted in cases:
        answer = beats(ours, theirs)
        attempted(answer)
        expect(bool(answer) == wanted, f"{what}: {ours} against {theirs}")
    done("A point on one seed is no finding; a point on each of four is.")


def ch8_predict(
    answers: str, hidden: str, model: nn.Module, data: ImageData, c: int
) -> None:
    """If the last layer is drawn anew: are the answers gone, and is the probe fooled?"""
    attempted(answers, hidden)
    choices = ("gone", "kept")
    one_of(answers, choices)
    one_of(hidden, choices)
    redrawn = copy.deepcopy(model)
    _, layer = last_layer(redrawn, data.input_shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer.reset_parameters()
    found = []
    for network in (model, redrawn):
        probe = linear_probes(network, data, [c], layers=["2"])["2/forget_accuracy"]
        found.append((evaluate(network, data, [c]).accuracy, probe.value))
    (before, probe_before), (after, probe_after) = found
    expect(
        answers == choices[after > before / 2], "what does a fresh last layer answer?"
    )
    truth = choices[probe_after > probe_before / 2]
    expect(hidden == truth, "the probe reads the hidden layer: did that change?")
    done(
        f"Accuracy {before:.0f} → {after:.0f} %, probe {probe_before:.0f} → "
        f"{probe_after:.0f} %."
    )


def ch8_change(
    forgotten: float,
    retrained: float,
    forgot: nn.Module,
    never: nn.Module,
    data: ImageData,
    c: int,
) -> None:
    """Are these the accuracies on the class after relearning from two images each?"""
    attempted(forgotten, retrained)
    for name, answer, network in (
        ("forgotten", forgotten, forgot),
        ("retrained", retrained, never),
    ):
        truth = relearn(network, data, [c], samples=2)["forget_accuracy"].value
        hint = f"{name}: two images of each class give {truth:.1f} %"
        expect(close(answer, truth, 0.1), hint)
    done(
        f"Two images: {forgotten:.0f} % come back, {retrained:.0f} % in the reference."
    )


def ch8_implement(
    steps_back: Callable[[nn.Module], int],
    model: nn.Module,
    forgot: nn.Module,
    never: nn.Module,
) -> None:
    """Does it count no step for the original, and some for those that lack the class?"""
    found = [steps_back(network) for network in (model, forgot, never)]
    attempted(*found)
    original, forgotten, retrained = found
    expect(original == 0, "the original needs no step: test before the first one")
    expect(forgotten > 0 and retrained > 0, "at the start neither answers the class")
    done(f"{forgotten} steps for the forgotten network, {retrained} for the retrained.")


def ch8_critique(mute: nn.Module, data: ImageData, c: int) -> None:
    """Does it get an AUC of one half, and is it still no proof of anything?"""
    attempted(mute)
    auc = loss_attack(*matched_losses(mute, data, [c]))["auc"].value
    expect(close(auc, 0.5, 0.01), f"its AUC is {auc:.2f}: give every image one answer")
    accuracy = evaluate(mute, data, [c]).accuracy
    expect(accuracy < 20, f"it still reads {accuracy:.0f} % of the images")
    done(
        f"AUC {auc:.2f}, and it reads {accuracy:.0f} % of the images: it deletes nothing."
    )
