"""Checks of chapter 11, larger networks and many classes."""

from collections.abc import Callable

import pandas as pd

from mnemonic.exercises.answers import attempted, done, near


def predict(gigabytes: float) -> None:
    """The gradients of a thousand codes at once, for 25 million weights?"""
    attempted(gigabytes)
    truth = 1000 * 25e6 * 4 / 1e9
    hint = "four bytes a number, one number a weight, and a gradient for each code"
    near(gigabytes, truth, 0.1 * truth, hint)
    done(f"{truth:.0f} GB, where a sum of squares takes {25e6 * 4 / 1e9:.1f} GB.")


def change(loss: float, lite: pd.DataFrame) -> None:
    """By how many points does A_R fall, at worst, where the codes chose?"""
    attempted(loss)
    blocks = lite[lite["distribution"] == "low-frequency"]
    at = blocks.set_index(["seed", "forget_class", "stage"])["remaining_accuracy"]
    at = at.unstack("stage")
    truth = float((at["fine-tuned"] - at["forgotten, codes"]).max())
    hint = "compare each animal and seed with the same one before, then the largest"
    near(loss, truth, 0.01, hint)
    done(f"{truth:.1f} points at worst.")


def implement(seconds: Callable[..., float]) -> None:
    """Does it put a straight line through two measured times?"""
    for (k1, t1), (k2, t2), k in (
        ((10, 0.5), (100, 3.2), 1000),
        ((30, 2.0), (300, 2.0), 1000),
        ((100, 40.0), (10, 4.0), 1),
    ):
        found = attempted(seconds((k1, t1), (k2, t2), k))
        truth = t1 + (t2 - t1) * (k - k1) / (k2 - k1)
        hint = f"{k1} codes in {t1} s and {k2} in {t2} s give {truth:.2f} s for {k}"
        near(found, truth, 1e-6, hint)
    done("The slope is the time a code, and what is left at K = 0 is the rest.")


def critique(measured: Callable[[int, int], float]) -> None:
    """What share of the remaining classes do images speak for?"""
    attempted(measured)
    for classes, pictured in ((1000, 40), (10, 10), (200, 3)):
        truth = (pictured - 1) / (classes - 1)
        found = attempted(measured(classes, pictured))
        hint = f"of {classes} classes, {pictured} with images: one of them is forgotten"
        near(found, truth, 1e-6, hint)
    done("Of the others the chapter knows the codes, and not the images.")
