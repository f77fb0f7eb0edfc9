"""How much each attacker brings back of a class, after each rule that made it forget.

The rungs of the ladder are attackers who know more and more: the logits of the network
alone, its last layer, one image of every class, five, all of them. Each rung says what
share of the class's test images is answered right then. Nothing is chosen here.

Example:
    >>> found = climbed(seed=0, setup="smoke-fast", name="deleted")
    >>> found["answers"], found["one_number"]
    (0.0, 0.0)
"""

from statistics import mean

from torch import nn

from mnemonic.audits import diagnoses, linear_probes, relearn
from mnemonic.audits.diagnoses import WITHIN, brought_back
from mnemonic.audits.outputs import last_inputs, logits_of
from mnemonic.audits.probes import probed_layers
from mnemonic.audits.relearning import drawn
from mnemonic.baselines import METHODS, Access
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.scoring import two_numbers
from mnemonic.lab.suspects import REFERENCES, lineup, suspect
from mnemonic.networks.layers import last_layer

OUTPUT = ("one_number", "two_numbers", "other_rows", "known_rule")
IMAGES = ("one_image", "five_images", "all_images")
DRAWS = 5  # of one image a class
# With codes or without, and settings of ``forget``; λ of the paper are those for MNIST.
RULES = {
    "the paper's step": (True, {}),
    "the paper's step, its λ": (True, {"strength": Strength(1e-3, 10.0)}),
    "turned row": (True, {"rule": "turn"}),
    "turned row, no codes": (False, {"rule": "turn"}),
    "mirrored row": (True, {"rule": "turn", "strength": 2.0}),
    "projected row": (True, {"rule": "turn", "strength": 1.0}),
    "unseen row": (True, {"rule": "unseen"}),
    "unseen row, no codes": (False, {"rule": "unseen"}),
}
CONTROLS = ("original", "one-bias", "deleted")


def by_rule(
    name: str,
    model: nn.Module,
    data: ImageData,
    codes: MnemonicCodes,
    classes: tuple[int, ...],
) -> nn.Module:
    """What a rule, or a control, makes of a network.

    Args:
        name: One of ``RULES`` or ``CONTROLS``.
        model: Trained with the codes; left untouched.
        data: Gives those without codes the shape of an input.
        codes: Of the training.
        classes: The forget classes.

    Returns:
        A network in evaluation mode.
    """
    if name in CONTROLS:
        return METHODS[name](model, Access(data, classes, codes=codes)).model
    with_codes, how = RULES[name]
    given = codes if with_codes else None
    if given is None:
        how = how | {"input_shape": data.input_shape}
    return quietly_forget(model, given, classes, **how).model


def rungs(
    network: nn.Module,
    data: ImageData,
    classes: tuple[int, ...],
    original: nn.Module,
    *,
    few: bool = False,
) -> dict[str, float]:
    """What each attacker gets of the forget classes' test images, in percent.

    Args:
        network: After a rule, or one that never saw the classes.
        data: Its validation images choose numbers, its training images relearn.
        classes: The forget classes.
        original: The network before: its A_R is to be kept but for two points.
        few: Ask only those who have no image.

    Returns:
        ``answers``, without any attack; those of ``OUTPUT``; those of ``IMAGES``:
        ``one_image`` of every class makes a row, ``five_images`` of every class are the
        larger of two relearnings, as given and with fresh rows, and ``all_images``
        train a probe of the last features. Besides, ``logit_auc`` and ``margin_auc``,
        in [0, 1].
    """
    answers = 100 - two_numbers(network, data, classes)["forgetting_error"]
    told = diagnoses(network, data, classes, original=original)
    aucs = (name for name in told if name.endswith("auc"))
    found = {"answers": answers} | {n: told[n].value for n in (*OUTPUT, *aucs)}
    if few:
        return found
    kept = (two_numbers(n, data, classes, "validation") for n in (network, original))
    least = min(k["remaining_accuracy"] for k in kept) - WITHIN
    how = {"samples": 5, "draws": 1}
    five = [relearn(network, data, classes, **how, fresh=f) for f in (False, True)]
    probe = linear_probes(
        network, data, classes, layers=probed_layers(network, data)[-2:-1]
    )
    (read,) = (e for name, e in probe.items() if name.endswith("forget_accuracy"))
    values = (
        _one_image(network, data, list(classes), least),
        max(f["forget_accuracy"].value for f in five),
        read.value,
    )
    return found | dict(zip(IMAGES, values, strict=True))


def _one_image(network, data, classes, least) -> float:
    """The row of a class along its one image, less the mean of all; one bias."""
    _, layer = last_layer(network, data.input_shape)
    parts = [
        (logits_of(network, data, p), p, last_inputs(network, layer, data, p))
        for p in (data.validation, data.test)
    ]
    length = layer.weight.detach().cpu().norm(dim=1).mean()
    back = []
    for images, _ in drawn(data, range(data.n_classes), 1, DRAWS, seed=0):
        shown = last_inputs(network, layer, data, images)
        row = (shown - shown.mean(0))[classes]
        row *= length / row.norm(dim=1, keepdim=True)
        asked = []
        for logits, part, features in parts:
            logits = logits.clone()
            logits[:, classes] = features @ row.T
            asked.append((logits, part.labels.cpu()))
        back.append(brought_back(*asked, classes, least=least).back.value)
    return mean(back)


def climbed(seed: int, setup: str, name: str) -> dict:
    """All rungs of one network of a line-up: a cell of a grid.

    Args:
        seed: As in ``lab.suspects.lineup``.
        setup: Name of a profile.
        name: One of ``RULES``, or as in ``lab.suspects.suspect``.

    Returns:
        As ``rungs``, with ``remaining_accuracy`` and ``forgetting_error`` on test
        images, both in percent.
    """
    line = lineup(setup, seed, references=REFERENCES if name == "retrain" else 0)
    access, original = line.access, line.original
    data, classes = access.data, access.classes
    if name in RULES:
        network = by_rule(name, original, data, access.codes, classes)
    else:
        network = suspect(line, name)
    return two_numbers(network, data, classes) | rungs(network, data, classes, original)
