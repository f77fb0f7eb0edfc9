"""Every class forgotten in turn: Table 7 of the paper, at any scale.

Example:
    >>> RESNET18.model_name, RESNET18.recipe.epochs
    ('resnet18', 200)
"""

from __future__ import annotations

import warnings
from dataclasses import replace

from mnemonic.evaluation import evaluate
from mnemonic.forgetting.step import forget
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.profiles import Profile
from mnemonic.training import Recipe

# The paper's for CIFAR-10; in no profile of the book, for it wants a GPU.
RESNET18 = Profile(
    "resnet18", "cifar10-jpeg", "resnet18", Recipe(schedule="cosine"), t_mix=0.3,
    seeds=(0, 1, 2), sweep_seeds=(0, 1, 2), forget_class=0,
    strength=Strength(lambda1=1e-5, lambda2=1e4),
)  # fmt: skip


def every_class(seed: int, profile: str, data_name: str) -> list[dict]:
    """Forget each class in turn, by the codes' choice and by the paper's strength.

    First shown in chapter 5 (Table 7 of the paper).

    Args:
        seed: Of codes, initial weights and training.
        profile: Name of the profile, or ``"resnet18"``: the paper's for CIFAR-10.
        data_name: What ``load_data`` is given.

    Returns:
        One row a class and choice, with A_R and E_F before and after, in percent, on
        test data; the strength, the sign and the seconds.
    """
    chosen = RESNET18 if profile == "resnet18" else Profile.named(profile)
    settings = replace(chosen, data_name=data_name)
    data = settings.load()
    model, codes = settings.trained(data, seed)
    rows = []
    for c in range(data.n_classes):
        before = evaluate(model, data, [c])
        for choice, strength in (("codes", None), ("paper", settings.strength)):
            with warnings.catch_warnings():  # forgets_codes says it in the table
                warnings.simplefilter("ignore", RuntimeWarning)
                result = forget(model, codes, [c], strength=strength)
            after = evaluate(result.model, data, [c])
            rows.append(
                {
                    "forget_class": c,
                    "choice": choice,
                    "before_remaining_accuracy": before.remaining_accuracy,
                    "before_forgetting_error": before.forgetting_error,
                    "remaining_accuracy": after.remaining_accuracy,
                    "forgetting_error": after.forgetting_error,
                    "lambda1": result.strength.lambda1,
                    "lambda2": result.strength.lambda2,
                    "sign": result.sign,
                    "forgets_codes": result.forgets_codes,
                    "seconds": result.seconds,
                }
            )
    return rows
