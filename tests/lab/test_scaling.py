import math
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock, Bottleneck

import mnemonic as mn
from mnemonic.lab import scaling
from mnemonic.lab.profiles import PROFILES
from mnemonic.networks.running import seeded

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
    "depthwise": partial(
        models.ConvNeXt, [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
    ),
    "windows": partial(
        models.SwinTransformer, [4, 4], 16, [1, 1], [2, 2], [4, 4],
        stochastic_depth_prob=0.0,
    ),
    "attention": partial(models.VisionTransformer, 32, 8, 1, 2, 16, 32),
    "tied": lambda num_classes: scaling.Tied(num_classes, width=8),
}  # fmt: skip


def looped_fisher(model, inputs, labels):
    """The definition: one backward pass a sample."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for x, y in zip(inputs.split(1), labels.split(1), strict=True):
        loss = nn.functional.cross_entropy(model(x), y)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for summed, g in zip(total.values(), gradients, strict=True):
            summed += g**2 / len(inputs)
    return total


def without_zeros(model):
    """Where a ReLU, a scale or a fresh layer gives 0 there is no ratio to compare."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ReLU | nn.ReLU6):
            model.set_submodule(name, nn.SiLU())
        if hasattr(module, "layer_scale"):
            nn.init.ones_(module.layer_scale)
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight)
    return model


@pytest.mark.parametrize("name", SMALL)
def test_forgetting_takes_its_step_in_each_architecture(name):
    with seeded(0):
        model = without_zeros(SMALL[name](num_classes=3)).double().eval()
    images = torch.rand(
        3, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    codes = mn.MnemonicCodes(images, ("a", "b", "c"), 0, "uniform")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with warnings.catch_warnings():  # nothing was trained: it knows no code
        warnings.simplefilter("ignore", RuntimeWarning)
        result = mn.forget(model, codes, [1], strength=mn.Strength(1e-3, 1e-2), sign=1)
    f_forget = looped_fisher(model, images[1:2], codes.labels[1:2])
    f_remain = looped_fisher(model, images[::2], codes.labels[::2])
    after = dict(result.model.named_parameters())
    assert set(result.layers["layer"]) == set(before)
    compared = set()
    for layer, old in before.items():
        assert torch.equal(dict(model.named_parameters())[layer], old)
        eta = (f_forget[layer] + 1e-30) / (f_remain[layer] + 1e-30)
        # Below it the ratio is that of rounding errors, and so is α if it is largest.
        solid = f_remain[layer] > max(1e-26, 1e-16 * float(f_remain[layer].max()))
        if solid.flatten()[eta.argmax()]:
            step = min(1e-3, 1e-2 / float(eta.max())) * eta
            moved = after[layer] - old
            assert torch.allclose(moved[solid], step[solid], rtol=1e-4, atol=1e-12)
            compared.add(layer)
    assert len(compared) >= len(before) / 2
    assert name != "tied" or "again.weight" in compared  # the one used three times


def test_costs_are_counted(device):
    row = scaling.costs(0, "slim-resnet", n_classes=5, side=16, device=device)
    model = mn.build_model("slim-resnet", scaling.blank_data(5, 16))
    assert row["weights"] == sum(p.numel() for p in model.parameters())
    assert 0 < row["limit_seconds"] < 60
    assert 0 < row["seconds"] < 60
    assert row["finite"]


def test_the_smallest_times_of_warm_runs_count(monkeypatch):
    order, clock = [], [0.0]
    limits, steps = iter([90.0, 4.0, 2.0, 3.0]), iter([80.0, 6.0, 7.0, 5.0])

    def cross_entropy(logits, labels):  # once in each limit: two codes are one batch
        order.append("limit")
        clock[0] += next(limits)
        return logits.sum()

    def forget(*args, **settings):
        order.append("step")
        return SimpleNamespace(seconds=next(steps), layers={"largest_step": series})

    series = pd.Series([1.0])
    monkeypatch.setattr(scaling.functional, "cross_entropy", cross_entropy)
    monkeypatch.setattr(scaling, "quietly_forget", forget)
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: clock[0])
    row = scaling.costs(0, "slim-resnet", n_classes=2, side=16)
    assert order == ["limit", "step"] * 4  # the first pair warms up
    assert (row["limit_seconds"], row["seconds"]) == (2.0, 5.0)


def test_memory_holds_what_forgetting_takes_beside_the_weights():
    row = scaling.costs(0, "efficientnet_b0", n_classes=10, side=32, repeats=1)
    if math.isnan(row["memory_mib"]):
        pytest.skip("this system does not count it")
    # Two copies of the weights, amplitudes in float64 and their steps, at the least.
    assert row["memory_mib"] > 4 * (4 * row["weights"] / 2**20)


@pytest.mark.parametrize("t_mix", [0.0, 0.3])
def test_the_cost_of_codes_is_that_of_the_first_classes(monkeypatch, t_mix):
    short = {"recipe": mn.Recipe(epochs=2), "per_class": 30}
    profile = replace(PROFILES["mnist-5k-resnet"], **short)
    monkeypatch.setitem(PROFILES, "tiny-imagenet-40-codes", profile)
    row = scaling.cost_of_codes(0, 5, t_mix, "uniform")

    whole = profile.load()
    five = {
        part: (split.pixels[split.labels < 5], split.labels[split.labels < 5])
        for part in ("train", "validation", "test")
        for split in [getattr(whole, part)]
    }
    data = mn.ImageData.from_arrays(**five, class_names=whole.class_names[:5])
    data = replace(data, mean=whole.mean, std=whole.std)
    codes = mn.MnemonicCodes.draw(data, seed=0)
    model = mn.build_model("slim-resnet", data, seed=0)
    with_codes = {"codes": codes, "t_mix": t_mix} if t_mix else {}
    mn.train(model, data, recipe=profile.recipe, seed=0, progress=False, **with_codes)
    scores = mn.evaluate(model, data, [3])
    assert row["accuracy"] == pytest.approx(scores.accuracy)
    assert row["before_remaining_accuracy"] == pytest.approx(scores.remaining_accuracy)
    assert ("forgetting_error" in row) == bool(t_mix)
    if t_mix:
        known = (model.eval()(codes.images).argmax(1) == codes.labels).double().mean()
        assert row["codes_known"] == pytest.approx(100 * float(known))


def test_memory_is_that_of_the_call_at_its_peak():
    # In a new process, whose heap holds what was freed below a block still in use.
    script = """
import torch
from mnemonic.lab.scaling import peak_mib

def fill():
    return [torch.ones(2**18) for _ in range(64)]  # 64 blocks of 1 MiB, touched

block = fill().pop()
for call in (fill, lambda: None, fill):
    print(peak_mib(call, torch.device("cpu")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    first, nothing, again = map(float, done.stdout.split())
    if math.isnan(first):
        pytest.skip("this system does not count it")
    assert 60 < first < 90
    assert nothing < 5
    assert 60 < again < 90
