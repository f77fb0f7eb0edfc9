"""With a rate near zero, or a strength of zero, a method leaves the answers alone.

What moves without learning is no rule: in networks with BatchNorm the statistics of
batches of one class would.
"""

from functools import partial

import pytest
import torch
from conftest import blobs
from torch import nn

import mnemonic as mn

RATE = {"learning_rate": 1e-12}
STILL = dict.fromkeys(
    (
        "neggrad", "neggrad-plus", "boundary-shrink", "boundary-expand", "delete",
        "lipschitz", "lwsf", "finetune", "random-label", "bad-teacher", "l1-sparse",
        "salun", "scrub", "error-min-max", "synthetic-embeddings", "unsc", "zs-pag",
    ),
    RATE,
)  # fmt: skip
STILL |= {"fastmu": {"impair_rate": 1e-12, "repair_rate": 1e-12}}
STILL |= {n: {"strength": 1e-12} for n in ("damp", "damp-codes", "pour-p")}
STILL |= {"esc": {"share": 0.0}}
STILL |= {"ssd": {"alpha": 1e12}, "svd": {"forget_scale": 1e-12}, "original": {}}
FRESH = "starts from fresh weights"
GIVEN = "its step is as long as the codes, or images, say"
CONTROL = "replaces a row or a bias, whatever the network"
REASONS = dict.fromkeys(("retrain", "retrain-codes", "sisa", "gkt", "erm-ktp"), FRESH)
REASONS |= dict.fromkeys(("mnemonic", "mnemonic-data", "random-noise"), GIVEN)
REASONS |= dict.fromkeys(("row-zeroing", "deleted", "one-bias"), CONTROL)
REASONS |= dict.fromkeys(("copied-row", "random-row", "mean-row"), CONTROL)
REASONS |= {"sfdn": "sets the forget rows to 0", "ntk-f": "its step has its own length"}
# The last word of their authors, on batches that hold remaining images as well.
TRAINS_STATISTICS = {
    "finetune", "random-label", "bad-teacher", "l1-sparse", "salun", "scrub"
}  # fmt: skip
SMALL = {"steps": 2, "n_noise": 4, "copies": 2, "n_copies": 2, "epochs": 2}


def network(norm, seed):
    layers = {
        "batch": [nn.BatchNorm2d(6), nn.ReLU()],
        "layer": [nn.LayerNorm([6, 6, 6]), nn.ReLU()],
        "dropout": [nn.ReLU(), nn.Dropout(0.3)],
    }[norm]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ends = [nn.Flatten(), nn.Linear(216, 4)]
        return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), *layers, *ends)


@pytest.fixture(scope="module")
def world():
    train = blobs(160, 4, seed=0)
    return mn.ImageData.from_arrays(
        train=train, test=blobs(80, 4, seed=1), class_names="abcd"
    )


def test_every_method_is_looked_at_or_has_a_reason():
    assert {*STILL, *REASONS} == {*mn.METHODS}
    assert not {*STILL} & {*REASONS}


@pytest.mark.parametrize("norm", ["batch", "layer", "dropout"])
@pytest.mark.parametrize("name", list(STILL))
def test_without_learning_nothing_is_forgotten(world, norm, name):
    method = mn.METHODS[name]
    codes = mn.MnemonicCodes.draw(world, seed=0, distribution="low-frequency")
    recipe = mn.Recipe(epochs=8, batch_size=20, learning_rate=0.05)
    how = {"build": partial(network, norm), "recipe": recipe, "codes": codes}
    access = mn.Access(world, [1], **how)
    model = method.prepare(access, seed=1)
    small = {key: SMALL[key] for key in SMALL.keys() & method.defaults.keys()}
    after = method(model, access, seed=0, **(small | STILL[name])).model
    x, y = world.inputs(world.test), world.test.labels
    with torch.no_grad():
        one, two = model(x), after(x)
    assert (one.argmax(1) == y).double().mean() > 0.9
    if norm == "batch" and name in TRAINS_STATISTICS:
        assert (one.argmax(1) == two.argmax(1)).double().mean() >= 0.95
        assert (one - two).abs().max() > 1e-3  # if not, it belongs to the others
    else:
        assert torch.allclose(one, two, atol=1e-4)
