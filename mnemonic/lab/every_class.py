"""Every class forgotten in turn: Table 7 of the paper, at any scale."""

from dataclasses import asdict, replace

from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.lab.comparison import two_numbers
from mnemonic.lab.profiles import Profile


def every_class(seed: int, profile: str, data_name: str) -> list[dict]:
    """Forget each class in turn, by the codes' choice and by the paper's strength.

    First shown in chapter 5 (Table 7 of the paper).

    Args:
        seed: Of codes, initial weights and training.
        profile: Name of the profile; ``"resnet18"`` is the paper's for CIFAR-10.
        data_name: What ``load_data`` is given.

    Returns:
        One row a class and choice, with A_R and E_F before and after, in percent, on
        test data; the strength, the sign and the seconds.
    """
    settings = replace(Profile.named(profile), data_name=data_name)
    data = settings.load()
    model, codes = settings.trained(data, seed)
    rows = []
    for c in range(data.n_classes):
        before = two_numbers(model, data, [c])
        for choice, strength in (("codes", None), ("paper", settings.strength)):
            result = quietly_forget(model, codes, [c], strength=strength)
            rows.append(
                {
                    "forget_class": c,
                    "choice": choice,
                    **{f"before_{what}": value for what, value in before.items()},
                    **two_numbers(result.model, data, [c]),
                    **asdict(result.strength),
                    "sign": result.sign,
                    "forgets_codes": result.forgets_codes,
                    "seconds": result.seconds,
                }
            )
    return rows
