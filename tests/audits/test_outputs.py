import pytest
import torch
from torch import nn

import mnemonic as mn
from mnemonic.audits.outputs import (
    answered_right,
    features_of,
    last_inputs,
    layers_of,
    logits_of,
    part_of,
)


def test_parts_share_the_split_between_them(data):
    forget = part_of(data, "test", [0, 2])
    remaining = part_of(data, "test", [0, 2], others=True)
    assert set(forget.labels.tolist()) == {0, 2}
    assert set(remaining.labels.tolist()) == {1}
    assert len(forget) + len(remaining) == len(data.test)
    first = (data.test.labels != 1).nonzero()[0, 0]
    assert torch.equal(forget.pixels[0], data.test.pixels[first])


def test_logits_and_features_are_those_of_the_layers(data, tiny):
    part = part_of(data, "test", [1])
    inputs = data.inputs(part)
    with torch.no_grad():
        hidden, logits = tiny[:2](inputs), tiny(inputs)
    assert torch.allclose(logits_of(tiny, data, part), logits)
    right = answered_right(tiny, data, part)
    assert torch.equal(right, logits.argmax(1) == 1)
    found = features_of(tiny, data, part, ["1", "3"])
    assert torch.allclose(found["1"], hidden)
    assert torch.allclose(found["3"], logits)
    assert torch.allclose(last_inputs(tiny, tiny[3], data, part), hidden.tanh())


def test_top_level_layers_that_compute_something(data, tiny):
    assert layers_of(tiny, data) == ("1", "2", "3")
    net = mn.build_model("slim-resnet", data)
    assert layers_of(net, data) == ("stem", "blocks", "classifier")


def test_lists_of_layers_count_as_their_members(data, tiny):
    ensemble = Ensemble(tiny, nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    assert layers_of(ensemble, data) == ("members.0", "members.1")
    found = features_of(ensemble, data, data.test, ["members.0"])["members.0"]
    assert torch.allclose(found, logits_of(tiny, data, data.test))
    assert layers_of(nn.Sequential(nn.Flatten(), nn.Identity()), pixels_of_3()) == ()


def test_features_are_copies(data):
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(32, 3)
    )
    found = features_of(net, data, data.test, ["0", "1"])
    assert (found["0"] < 0).any()
    assert torch.equal(found["0"].relu(), found["1"])


class Ensemble(nn.Module):
    def __init__(self, *members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs):
        return sum(member(inputs) for member in self.members)


def pixels_of_3():
    """Data whose pixels are as many as their classes."""
    x, y = torch.rand(30, 1, 1, 3), torch.arange(30) % 3
    return mn.ImageData.from_arrays(
        train=(x, y), test=(x, y), class_names=["a", "b", "c"]
    )


class Tokens(nn.Module):
    """Gives a sequence, a pair, and maps that are changed in place."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(1, 200, 1)
        self.relu = nn.ReLU(inplace=True)
        self.pair = Pair()
        self.tokens = nn.Flatten(2)
        self.mix = nn.Linear(36, 7)
        self.unused = nn.Linear(7, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, inputs):
        maps = self.relu(self.wide(inputs))
        return self.head(self.mix(self.tokens(self.pair(maps)[0])).mean(1))


class Pair(nn.Module):
    def forward(self, inputs):
        return inputs, inputs


def test_maps_and_sequences_become_rows(data):
    net = Tokens().eval()
    assert layers_of(net, data) == ("wide", "relu", "mix", "head")
    part = part_of(data, "test", [1])
    found = features_of(net, data, part, ["wide", "relu", "mix"])
    with torch.no_grad():
        maps = net.wide(data.inputs(part))  # [N, 200, 6, 6]: too many to keep
        mixed = net.mix(net.tokens(maps.relu()))
    pooled = maps.reshape(-1, 200, 3, 2, 3, 2).mean((3, 5)).flatten(1)
    assert found["wide"].shape == (40, 1800)
    assert torch.allclose(found["wide"], pooled, atol=1e-6)
    assert (found["wide"] < 0).any()  # what came before the ReLU in place
    assert torch.allclose(found["mix"], mixed.mean(1), atol=1e-6)
    with pytest.raises(ValueError, match="layer pair of Tokens gives no tensor"):
        features_of(net, data, part, ["pair"])
    with pytest.raises(ValueError, match="layer unused of Tokens"):
        features_of(net, data, part, ["unused"])


def test_nothing_is_left_behind(data, tiny):
    tiny.train()
    features_of(tiny, data, data.test, ["2"])
    last_inputs(tiny, tiny[3], data, data.test)
    assert tiny.training
    for layer in tiny:
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


def test_wrong_input_is_refused(data, tiny):
    with pytest.raises(ValueError, match="unknown split 'holdout'"):
        part_of(data, "holdout", [0])
    with pytest.raises(ValueError, match="class 3 is not in"):
        part_of(data, "test", [3])
    with pytest.raises(ValueError, match="0 of 72 train images are of the forget"):
        part_of(data.without([1]), "train", [1])
    with pytest.raises(ValueError, match="has no layer 7, 8; give a list of some of 0"):
        features_of(tiny, data, data.test, ["7", "1", "8"])
    with pytest.raises(ValueError, match="has no layer '12'"):
        features_of(tiny, data, data.test, "12")
