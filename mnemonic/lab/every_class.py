"""Every class forgotten in turn: Table 7 of the paper, at any scale."""

from dataclasses import asdict, replace

from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.profiles import Profile
from mnemonic.lab.scoring import two_numbers


def every_class(
    seed: int, profile: str, data_name: str, split: str = "test", **recipe: object
) -> list[dict]:
    """Forget each class in turn, by the codes' choice and by two others.

    These are the shortest step that forgets the codes, however narrowly, and the
    paper's strength.

    First shown in chapter 5 (Table 7 of the paper).

    Args:
        seed: Of codes, initial weights and training.
        profile: Name of the profile; ``"resnet18"`` is the paper's for CIFAR-10.
        data_name: What ``load_data`` is given.
        split: To count on.
        recipe: Values in place of those of the profile's recipe, by name.

    Returns:
        One row a class and choice, with A_R and E_F before and after, in percent; the
        strength, the sign, ``depth`` and the seconds, and those of the training.
    """
    settings = replace(Profile.named(profile), data_name=data_name)
    settings = replace(settings, recipe=replace(settings.recipe, **recipe))
    data = settings.load()
    model, codes, history = settings.trained(data, seed, with_history=True)
    rows = []
    for c in range(data.n_classes):
        before = two_numbers(model, data, [c], split)
        table = quietly_forget(model, codes, [c], candidates=True).candidates
        score = table["remaining_accuracy"] + table["forgetting_error"]
        least = table[score == score.max()].nsmallest(1, "length").iloc[0]
        least = Strength(least["lambda1"], least["lambda2"])
        choices = {"codes": None, "shortest": least, "paper": settings.strength}
        for choice, strength in choices.items():
            result = quietly_forget(model, codes, [c], strength=strength)
            rows.append(
                {
                    "forget_class": c,
                    "choice": choice,
                    **{f"before_{what}": value for what, value in before.items()},
                    **two_numbers(result.model, data, [c], split),
                    **asdict(result.settings["strength"]),
                    "sign": result.settings["sign"],
                    "forgets_codes": result.forgets_codes,
                    "depth": result.depth,
                    "seconds": result.seconds,
                    "training_seconds": history.seconds,
                }
            )
    return rows
