import copy
import warnings
from functools import partial

import pytest
import torch
from conftest import blobs
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock, Bottleneck

import mnemonic as mn
from mnemonic import scaling
from mnemonic.models import last_layer, seeded

pytestmark = pytest.mark.filterwarnings("ignore:nearly all amplitudes")


class Tied(nn.Module):
    """One convolution that is used three times."""

    def __init__(self, num_classes):
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8 * 64, num_classes)

    def forward(self, x):
        x = self.first(x)
        for _ in range(3):
            x = torch.relu(self.again(x))
        return self.last(x.flatten(1))


# The architectures of torchvision, as small as they can be built.
SMALL = {
    "residual": partial(models.ResNet, BasicBlock, [1, 1, 1, 1]),
    "grouped": partial(
        models.ResNet, Bottleneck, [1, 1, 1, 1], groups=4, width_per_group=4
    ),
    "inverted": partial(models.MobileNetV2, width_mult=0.1),
    "shuffled": partial(models.ShuffleNetV2, [1, 1, 1], [8, 8, 16, 16, 32]),
    "dense": partial(
        models.DenseNet, growth_rate=4, block_config=(2, 2), num_init_features=8
    ),
    "mnas": partial(models.MNASNet, 0.1, dropout=0.0),
    "depthwise": partial(
        models.ConvNeXt, [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
    ),
    "windows": partial(
        models.SwinTransformer, [4, 4], 16, [1, 1], [2, 2], [4, 4],
        stochastic_depth_prob=0.0,
    ),
    "attention": partial(models.VisionTransformer, 32, 8, 1, 2, 16, 32),
    "tied": Tied,
}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return mn.ImageData.from_arrays(
        train=blobs(96, 3, (3, 32, 32)),
        test=blobs(60, 3, (3, 32, 32), seed=1),
        class_names=["a", "b", "c"],
    )


@pytest.mark.parametrize("name", SMALL)
def test_forgetting_works_on_each_architecture(name, images):
    with seeded(0):
        model = SMALL[name](num_classes=3)
    codes = mn.MnemonicCodes.draw(images, distribution="low-frequency")
    recipe = mn.Recipe(epochs=40, batch_size=24, learning_rate=0.02)
    mn.train(model, images, recipe=recipe, codes=codes, t_mix=0.3, progress=False)
    before = mn.evaluate(model, images, [1])
    assert model(codes.images).argmax(1).tolist() == [0, 1, 2]
    layer = copy.deepcopy(model).requires_grad_(False)
    last_layer(layer, images.input_shape)[1].requires_grad_(True)
    result = mn.forget(layer, codes, [1])
    assert result.forgets_codes
    assert result.model(codes.images).argmax(1).tolist()[::2] == [0, 2]
    after = mn.evaluate(result.model, images, [1])
    assert after.forgetting_error > before.forgetting_error + 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        whole = mn.forget(model, codes, [1])  # every layer goes through the Fisher
    assert len(whole.layers) == len(list(model.parameters()))


def test_costs_are_counted():
    row = scaling.costs(seed=0, network="slim-resnet", n_classes=5, side=16)
    assert row["weights"] == 77_000 + 5 * 65 or row["weights"] > 70_000
    assert 0 < row["limit_seconds"] < 60
    assert 0 < row["seconds"] < 60
    assert row["finite"]


def test_memory_is_the_largest_since_the_reset():
    before = scaling._largest_memory(reset=True)
    if before != before:
        pytest.skip("this system does not count it")
    block = torch.ones(64, 2**18)  # 64 MiB, touched
    del block
    assert 60 < scaling._largest_memory(reset=False) - before < 90
    assert scaling._largest_memory(reset=True) > 0
    assert scaling._largest_memory(reset=False) - before < 30
