import copy
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from conftest import blobs
from torch import nn

import mnemonic as mn
from mnemonic.networks.asked import check_outputs
from mnemonic.networks.running import evaluation_mode


def images(shape, k=3):
    x, y = blobs(shape=shape, k=k)
    return mn.ImageData.from_arrays(
        train=(x, y), test=(x, y), class_names=[str(c) for c in range(k)]
    )


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp", (1, 28, 28)),
        ("slim-resnet", (1, 28, 28)),
        ("slim-resnet", (3, 32, 32)),
        ("resnet18", (3, 32, 32)),
        ("resnet18", (1, 28, 28)),
        ("resnet18", (3, 64, 64)),
        ("mobilenet_v3_small", (3, 64, 64)),
    ],
)
def test_models_build_alike_by_seed(name, shape):
    data = images(shape)
    one, same, other = (mn.build_model(name, data, seed=s) for s in (0, 0, 1))
    assert one(torch.zeros(2, *shape)).shape == (2, 3)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    mn.build_model("mlp", images((1, 8, 8)), seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_sizes_are_those_of_the_paper():
    def weights(name, shape):
        model = mn.build_model(name, images(shape, k=10))
        return sum(p.numel() for p in model.parameters())

    assert weights("mlp", (1, 28, 28)) == 784 * 1000 + 1000 + 1000 * 10 + 10
    assert weights("slim-resnet", (1, 28, 28)) == pytest.approx(78_000, rel=0.02)
    stem = mn.build_model("resnet18", images((3, 32, 32))).conv1
    assert (stem.kernel_size, stem.stride) == ((3, 3), (1, 1))


def test_unknown_and_unfitting_models_are_refused(monkeypatch):
    data = images((1, 64, 64))
    with pytest.raises(ValueError, match="unknown model 'resnet-18'; choose"):
        mn.build_model("resnet-18", data)
    with pytest.raises(ValueError, match="cannot take inputs of shape"):
        mn.build_model("mobilenet_v3_small", data)
    for name in (None, 3):
        with pytest.raises(ValueError, match=f"unknown model {name}; choose"):
            mn.build_model(name, data)
    with pytest.raises(ValueError, match=r"cannot take inputs .* height"):
        mn.build_model("vit_b_16", images((3, 28, 28)))
    with pytest.raises(ValueError, match="no pretrained weights"):
        mn.build_model("mlp", data, pretrained=True)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="pip install timm"):
        mn.build_model("timm/vit_tiny_patch16_224", data)


@pytest.fixture
def pretrained(monkeypatch):
    """Networks of torchvision with 5 outputs, as if their weights had been trained."""
    get_model, weights_of = torchvision.models.get_model, {}

    def trained(name, *, weights):
        assert weights == "DEFAULT"
        model = get_model(name, weights=None, num_classes=5)
        weights_of[name] = copy.deepcopy(model.state_dict())
        return model

    monkeypatch.setattr(torchvision.models, "get_model", trained)
    return weights_of


def changed(model, weights):
    """Names of the weights that are not those."""
    now = model.state_dict()
    assert now.keys() == weights.keys()
    return [n for n, w in weights.items() if not torch.equal(now[n], w)]


def test_a_pretrained_head_gives_way_to_one_of_other_classes(pretrained):
    name, data = "mobilenet_v3_small", images((3, 64, 64))
    model, same = (mn.build_model(name, data, pretrained=True) for _ in range(2))
    head = ["classifier.3.weight", "classifier.3.bias"]
    assert changed(model, pretrained[name]) == head
    assert model.classifier[3].out_features == 3
    assert torch.equal(model.classifier[3].weight, same.classifier[3].weight)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_a_pretrained_head_of_as_many_classes_is_kept(name, pretrained):
    model = mn.build_model(name, images((3, 64, 64), k=5), pretrained=True)
    assert changed(model, pretrained[name]) == []


def test_a_pretrained_network_without_a_linear_end_is_refused(pretrained):
    with pytest.raises(ValueError, match=r"5 outputs of 'squeezenet1_1' .* of 3"):
        mn.build_model("squeezenet1_1", images((3, 64, 64)), pretrained=True)


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch, tmp_path):
    def offline(name, *, weights):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(OSError, match="no route to host") as caught:
        mn.build_model("resnet18", images((3, 64, 64)), pretrained=True)
    assert str(Path(tmp_path, "hub", "checkpoints")) in str(caught.value)
    assert "https://download.pytorch.org/models/resnet18-" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Flatten(), r"gives \[2, 36\] where .* \[2, 3\]"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(72, 3)), r"gives \[3\]"),
        (nn.Conv2d(1, 3, 3), r"gives \[2, 3, 4, 4\]"),
        (nn.Linear(7, 3), "cannot take inputs"),
        (nn.LSTM(6, 3), "."),
    ],
)
def test_outputs_must_be_one_row_of_logits_an_image(model, message):
    with pytest.raises(ValueError, match=message):
        check_outputs(model, torch.rand(2, 1, 6, 6), 3)


def test_nan_is_not_an_output(tiny):
    with torch.no_grad():
        tiny[1].bias[0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_outputs(tiny, torch.rand(2, 1, 6, 6), 3)


def test_each_module_gets_its_own_mode_back():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    model[1].eval()
    with evaluation_mode(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == [True, True, False]
