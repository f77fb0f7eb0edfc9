"""Checks of chapter 5, evaluation."""

import copy
from collections.abc import Callable, Mapping

import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from mnemonic.data.arrays import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.exercises.answers import attempted, done, expect, near, with_last_layer
from mnemonic.models import build_model


def predict(
    answer: float, probe: Callable[..., float], data: ImageData, c: int
) -> None:
    """What does a probe read in random weights? Foreseen within 15 points?"""
    attempted(answer)
    truth = probe(build_model("mlp", data, seed=9), data, c)
    near(answer, truth, 15, "a thousand random features still hold the image")
    done(f"It reads {truth:.0f} % of the class in random weights.")


def change(answer: float, data: ImageData, c: int) -> None:
    """Does the same pipeline read so much of the class in the pixels?"""
    attempted(answer)
    reader = make_pipeline(PCA(100, random_state=0), LogisticRegression(max_iter=2000))
    reader.fit(data.inputs(data.train).flatten(1).numpy(), data.train.labels)
    of_class = data.test.take(data.test.labels == c)
    pixels = data.inputs(of_class).flatten(1).numpy()
    truth = 100 * reader.score(pixels, of_class.labels)
    near(answer, truth, 2, "fit on all training images, score on the class")
    done(f"A linear reader of pixels knows {truth:.0f} % of the class.")


def implement(
    is_row_zeroed: Callable[[nn.Module, int], bool],
    control: Callable[[nn.Module, int], nn.Module],
    model: nn.Module,
    forgot: nn.Module,
    data: ImageData,
    c: int,
) -> None:
    """Does the check find row zeroing, and does a control get past it?"""
    zeroed, layer = with_last_layer(model, data)
    with torch.no_grad():
        layer.weight[c] = 0
        layer.bias[c] = -1e4
    answers = [is_row_zeroed(network, c) for network in (model, forgot, zeroed)]
    attempted(*answers)
    expect(bool(answers[2]), "it does not notice that the row is zero")
    expect(not answers[0] and not answers[1], "it accuses an honest network")
    quiet = attempted(control(copy.deepcopy(model), c))
    expect(not is_row_zeroed(quiet, c), "your own check finds your control")
    before, after = (evaluate(m, data, [c]) for m in (model, quiet))
    expect(after.forgetting_error >= 99, "the control is to answer the class no more")
    kept = after.remaining_accuracy >= before.remaining_accuracy - 1
    expect(kept, "the control is to keep the others")
    done(f"The control has E_F {after.forgetting_error:.0f} % and passes your check.")


def critique(
    is_gone: Callable[[nn.Module], bool], networks: Mapping[str, nn.Module]
) -> None:
    """Does it let through the network that never knew, and no other?"""
    answers = {name: is_gone(network) for name, network in networks.items()}
    attempted(*answers.values())
    for name, answer in answers.items():
        wanted = name == "retrained"
        expect(bool(answer) == wanted, f"of the {name} network it says {bool(answer)}")
    done(f"Of {', '.join(answers)}, only the last passes.")
