"""Checks of chapter 1, data."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mnemonic.data.arrays import ImageData
from mnemonic.exercises.answers import attempted, chosen, done, expect, near


def _right(data: ImageData, crossed_out: Sequence[int]) -> Tensor:
    """Whether the nearest mean, of those that are left, names each test image."""
    train_images = data.inputs(data.train).flatten(1)
    by_class = (train_images[data.train.labels == k] for k in range(data.n_classes))
    means = torch.stack([images.mean(0) for images in by_class])
    distances = torch.cdist(data.inputs(data.test).flatten(1), means)
    distances[:, list(crossed_out)] = torch.inf
    return (distances.argmin(1) == data.test.labels).double()


def predict(answer: str, data: ImageData) -> None:
    """Do the others gain more, or less, if the mean of 1 goes and not that of 3?"""
    chosen(("more", "less"), answer)
    before = _right(data, [])
    gained = ((_right(data, [c]) - before)[data.test.labels != c] for c in (1, 3))
    one, three = (100 * float(gain.mean()) for gain in gained)
    truth = "more" if one > three else "less"
    expect(answer == truth, "cross out the mean of class 1 and look at A_R again")
    done(f"The others gain {one:.1f} points without 1, {three:.1f} without 3.")


def change(remaining_accuracy: float, forgetting_error: float, data: ImageData) -> None:
    """Are these the two numbers after classes 3 and 5 were crossed out?"""
    attempted(remaining_accuracy, forgetting_error)
    right = _right(data, [3, 5])
    gone = torch.isin(data.test.labels, torch.tensor([3, 5]))
    kept, wrong = 100 * float(right[~gone].mean()), 100 * float(1 - right[gone].mean())
    near(forgetting_error, wrong, 1e-3, "E_F: over the images of 3 *and* 5")
    near(remaining_accuracy, kept, 1e-3, "A_R: over the eight others only")
    done(f"A_R is {kept:.1f} % over eight classes, E_F {wrong:.0f} %.")


def implement(
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
            found = attempted(rule(confusion, forgotten))
            hint = (
                f"{name}: it should be {wanted:.1f} for {confusion.tolist()} "
                f"without {forgotten}, and is {float(found):.1f}"
            )
            near(found, wanted, 1e-3, hint)
    done("They part company where classes have different numbers of images.")


def critique(optimism: Callable[[int, int], float]) -> None:
    """Does the optimism of the winner grow with the number of draws?"""
    seeds = range(5)
    found = [[optimism(n, seed) for seed in seeds] for n in (1, 2, 100)]
    attempted(*itertools.chain(*found))
    one, few, many = (sum(points) / len(seeds) for points in found)
    expect(
        abs(one) < 5,
        f"{one:.1f} points with one draw, where nothing is chosen: subtract the test "
        "accuracy of the same draw",
    )
    expect(
        many > few + 0.5,
        f"{few:.1f} points with 2 draws, {many:.1f} with 100: the winner is to be "
        "chosen on the validation images, and is to lose on the test images",
    )
    done(f"On average {few:.1f} points with 2 draws, {many:.1f} with 100.")
