"""Checks of chapter 9, baselines."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from mnemonic.baselines import METHODS
from mnemonic.data.arrays import ImageData
from mnemonic.exercises.answers import (
    attempted,
    done,
    expect,
    same_weights,
    validated,
    with_last_layer,
)


def predict(no_images: set[str], forget_images_only: set[str]) -> None:
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
        hint = f"{name}: {extra} too many and {missing} missing; ask their .reads"
        expect(not extra and not missing, hint)
    done(f"{len(free)} read no image, {len(alone)} those of the forget class alone.")


def change(
    networks: Mapping[str, nn.Module], model: nn.Module, data: ImageData
) -> None:
    """Do the four networks forget classes 3, 5 and 8 better than nothing does?"""
    attempted(networks)
    wanted = {"mnemonic", "delete", "ssd", "fastmu"}
    expect(set(networks) == wanted, f"give {', '.join(sorted(wanted))}")
    attempted(*networks.values())
    classes = [3, 5, 8]
    before = validated(model, data, classes)
    said = []
    for name, network in networks.items():
        after = validated(network, data, classes)
        changed = not torch.equal(after.confusion, before.confusion)
        expect(changed, f"{name}: it answers like the network before")
        was, is_now = (s.confusion.diagonal()[classes] for s in (before, after))
        gone = name not in ("delete", "fastmu") or bool((2 * is_now < was).all())
        expect(gone, f"{name}: it still knows one of the three; forget them at once")
        numbers = f"{after.remaining_accuracy:.0f} / {after.forgetting_error:.0f}"
        said.append(f"{name} {numbers}")
    done(f"A_R / E_F (%): {', '.join(said)}.")


def implement(
    mean_row: Callable[[nn.Module, int], nn.Module],
    model: nn.Module,
    data: ImageData,
    c: int,
) -> None:
    """Is the row of the class the mean of the others, and all else as it was?"""
    found = attempted(mean_row(copy.deepcopy(model), c))
    wanted, layer = with_last_layer(model, data)
    others = [k for k in range(data.n_classes) if k != c]
    with torch.no_grad():
        layer.weight[c] = layer.weight[others].mean(0)
        layer.bias[c] = layer.bias[others].mean()
    expect(same_weights(found, wanted), "row and bias: the mean of the nine others'")
    after = validated(found, data, [c])
    done(f"A_R {after.remaining_accuracy:.1f} %, E_F {after.forgetting_error:.1f} %.")


def critique(beats: Callable[[Sequence[float], Sequence[float]], bool]) -> None:
    """Is a difference no finding where one seed or the spread can explain it?"""
    cases = [
        ("one seed", [191.0], [190.0], False),
        ("one point, with a spread of three", [193, 188, 194], [190, 191, 191], False),
        ("one point on every seed", [191.0, 190.9, 191.1, 191.0], [190.0] * 4, True),
        ("one point less", [189.0, 188.9, 189.1, 189.0], [190.0] * 4, False),
    ]
    for what, ours, theirs, wanted in cases:
        answer = attempted(beats(ours, theirs))
        expect(bool(answer) == wanted, f"{what}: {ours} against {theirs}")
    done("A point on one seed is no finding; a point on each of four is.")
