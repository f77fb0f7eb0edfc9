"""What a training is given, if everything fits."""

from torch import nn

from mnemonic.checks import checked_number, checked_seed
from mnemonic.codes import PROBABILITY, MnemonicCodes, checked_codes
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.networks.asked import check_trainable
from mnemonic.networks.running import HALF
from mnemonic.training.recipe import Recipe


def checked_arguments(
    model: nn.Module,
    data: ImageData,
    recipe: Recipe | None,
    codes: MnemonicCodes | None,
    t_mix: float,
    seed: int,
) -> tuple[Recipe, float, int]:
    """Recipe, t_mix and seed as they are used, if everything fits."""
    check_trainable(model)
    checked_data(data)
    if half := [n for n, p in model.named_parameters() if p.dtype in HALF]:
        raise ValueError(
            f"{half[0]} is in half precision, in which small steps are lost; train "
            'model.float(), with Recipe(precision="bf16") for speed, and cast it then'
        )
    recipe = Recipe() if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe is {recipe!r}; give Recipe(epochs=…, …)")
    t_mix = checked_number("t_mix", t_mix, lambda t: 0 <= t <= 1, PROBABILITY)
    if t_mix > 0 and codes is None:
        raise ValueError(
            f"t_mix is {t_mix} but there are no codes; draw them with "
            "MnemonicCodes.draw(data), or leave t_mix at 0"
        )
    if codes is not None:
        checked_codes(codes).check(data)
    return recipe, t_mix, checked_seed(seed)
