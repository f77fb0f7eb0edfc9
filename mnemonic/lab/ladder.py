"""How much each attacker brings back of a class, after each rule that made it forget.

The rungs of the ladder are attackers who know more and more: the logits of the network
alone, its last layer, one image of every class, five, all of them. Each rung says what
share of the class's test images is answered right then; numbers are chosen on
validation images.

Example:
    >>> found = climbed(seed=0, setup="smoke-fast", name="deleted")
    >>> found["answers"], found["one_number"]
    (0.0, 0.0)
"""

from collections.abc import Sequence
from statistics import mean

import torch
from torch import nn

from mnemonic.audits import diagnoses, relearn
from mnemonic.audits.diagnoses import WITHIN, brought_back
from mnemonic.audits.outputs import last_inputs, logits_of, part_of
from mnemonic.audits.probes import fitted_probe
from mnemonic.audits.relearning import drawn
from mnemonic.baselines import METHODS, Access
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.data.splits import ArraySplit
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.scoring import two_numbers
from mnemonic.lab.suspects import REFERENCES, lineup, suspect
from mnemonic.networks.layers import last_layer
from mnemonic.networks.running import copied

OUTPUT = ("one_number", "two_numbers", "other_rows", "known_rule")
RUNGS = ("answers", *OUTPUT, "one_image", "five_images", "all_images")
DRAWS = 5  # of one image a class
PAPERS = "the paper's step, its λ"
MNISTS = Strength(1e-3, 10.0)  # the paper's λ for MNIST
RULES = {  # with codes or without, and settings of ``forget``
    "the paper's step": (True, {}),
    PAPERS: (True, {}),
    "the paper's step, last layer": (True, {"layers": "last"}),
    "turned row": (True, {"rule": "turn"}),
    "turned row, no codes": (False, {"rule": "turn"}),
    "mirrored row": (True, {"rule": "turn", "strength": 2.0}),
    "projected row": (True, {"rule": "turn", "strength": 1.0}),
    "unseen row": (True, {"rule": "unseen"}),
    "unseen row, no codes": (False, {"rule": "unseen"}),
}
EVERY_LAYER = ("the paper's step", PAPERS)  # move, by these
CONTROLS = ("original", "one-bias", "deleted")


def by_rule(
    name: str,
    model: nn.Module,
    data: ImageData,
    codes: MnemonicCodes,
    classes: tuple[int, ...],
    strength: Strength = MNISTS,
) -> nn.Module:
    """What a rule, or a control, makes of a network.

    Args:
        name: One of ``RULES`` or ``CONTROLS``.
        model: Trained with the codes; left untouched.
        data: Gives those without codes the shape of an input.
        codes: Of the training.
        classes: The forget classes.
        strength: The paper's λ.

    Returns:
        A network in evaluation mode.
    """
    if name in CONTROLS:
        return METHODS[name](model, Access(data, classes, codes=codes)).model
    with_codes, how = RULES[name]
    if name == PAPERS:
        how = {"strength": strength}
    if with_codes:
        return quietly_forget(model, codes, classes, **how).model
    how = how | {"input_shape": data.input_shape}
    return quietly_forget(model, None, classes, **how).model


def at_most_one_image(
    network: nn.Module, data: ImageData, classes: Sequence[int], before: float
) -> dict[str, float]:
    """What attackers get who have no image of the forget classes, and who have one.

    Args:
        network: After a rule, or one that never saw the classes.
        data: Its validation images choose numbers; or of features, see ``alone``.
        classes: The forget classes.
        before: A_R of the original on validation images: to be kept but for two points.

    Returns:
        Percent of the classes' test images: ``answers``, without any attack; those of
        ``OUTPUT``; ``one_image``, where one of every class makes a row. Besides,
        ``logit_auc`` and ``margin_auc``, in [0, 1].
    """
    answers = 100 - two_numbers(network, data, classes)["forgetting_error"]
    told = diagnoses(network, data, classes, original=before)
    aucs = (name for name in told if name.endswith("auc"))
    found = {"answers": answers} | {n: told[n].value for n in (*OUTPUT, *aucs)}
    least = min(kept(network, data, classes), before) - WITHIN
    return found | {"one_image": _one_image(network, data, list(classes), least)}


def kept(network: nn.Module, data: ImageData, classes: Sequence[int]) -> float:
    """A_R on validation images, percent."""
    return two_numbers(network, data, classes, "validation")["remaining_accuracy"]


def five_images(network: nn.Module, data: ImageData, classes: Sequence[int]) -> float:
    """The larger of two relearnings from five of every class: as given, fresh rows."""
    how = {"samples": 5, "draws": 1}
    found = (relearn(network, data, classes, **how, fresh=f) for f in (False, True))
    return max(each["forget_accuracy"].value for each in found)


def all_images(network: nn.Module, data: ImageData, classes: Sequence[int]) -> float:
    """What a probe of the last layer's inputs reads."""
    _, layer = last_layer(network, data.input_shape)
    asked = part_of(data, "test", classes)
    probe = fitted_probe(
        last_inputs(network, layer, data, data.train), data.train.labels
    )
    answers = probe.predict(last_inputs(network, layer, data, asked).numpy())
    return 100 * float((answers == asked.labels.cpu().numpy()).mean())


def rungs(
    network: nn.Module, data: ImageData, classes: Sequence[int], original: nn.Module
) -> dict[str, float]:
    """All rungs of the ladder, by name, percent: ``RUNGS``, and the two AUCs."""
    before = kept(original, data, classes)
    found = at_most_one_image(network, data, classes, before)
    found["five_images"] = five_images(network, data, classes)
    return found | {"all_images": all_images(network, data, classes)}


def alone(network: nn.Module, data: ImageData) -> tuple[nn.Module, ImageData]:
    """The last layer alone, and what it is given.

    Rules that move no other layer are asked far faster so.

    Args:
        network: Ends in a linear layer of D inputs.
        data: Images.

    Returns:
        The layer as a network, and its inputs as data, ``[N, D, 1, 1]``.
    """
    _, layer = last_layer(network, data.input_shape)
    seen = {}
    for part in ("train", "validation", "test"):
        split = getattr(data, part)
        features = last_inputs(network, layer, data, split)[:, :, None, None]
        seen[part] = ArraySplit(features, split.labels.cpu())
    size = layer.in_features
    how = {"mean": torch.zeros(size), "std": torch.ones(size), **seen}
    features = ImageData(f"features of {data.name}", data.class_names, **how)
    return head_alone(network, data), features


def head_alone(network: nn.Module, data: ImageData) -> nn.Module:
    """The last layer as a network of its own, of inputs ``[N, D, 1, 1]``."""
    layer = copied(last_layer(network, data.input_shape)[1])
    return nn.Sequential(nn.Flatten(), layer).cpu().eval()


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
