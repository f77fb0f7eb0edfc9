"""Networks as people have them: random ones of all kinds, and pairs that differ in one.

Each forgets like the same network without its oddities, or a ``ValueError`` says why
not; nothing that was given changes; and what differs has another key.
"""

import contextlib
import copy
import math
import random
import threading
import time
import types
import warnings

import pytest
import torch
from conftest import blobs
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

import mnemonic as mn
from mnemonic.lab.contents import contents

SHAPE = (1, 6, 6)
ACTIVATIONS = {
    "relu": nn.ReLU,
    "in place": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


def small(n=24):
    return mn.ImageData.from_arrays(
        train=blobs(n, seed=0), test=blobs(n, seed=1), class_names=["a", "b", "c"]
    )


def plain(draw):
    """A random network [N, 1, 6, 6] → [N, 3], without oddities."""
    layers, width = [], draw.choice([3, 5, 8])
    act = ACTIVATIONS[draw.choice([*ACTIVATIONS])]
    if draw.random() < 0.5:
        layers += [nn.Conv2d(1, 4, 3, bias=draw.random() < 0.5)]
        layers += draw.choice([[], [nn.BatchNorm2d(4)], [nn.GroupNorm(2, 4)]])
        layers += [act(), *draw.choice([[], [nn.MaxPool2d(2)], [nn.Dropout2d(0.2)]])]
    layers += [nn.Flatten(), nn.LazyLinear(width)]
    layers += draw.choice([[], [nn.LayerNorm(width)], [nn.BatchNorm1d(width)]])
    layers += [act(), *draw.choice([[], [nn.Dropout(0.3)]]), nn.Linear(width, 3)]
    model = nn.Sequential(*layers)
    model(torch.rand(2, *SHAPE))
    return model


class Wrapped(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


class KeepsFeatures(Wrapped):
    def forward(self, x):
        self.seen = [x.detach(), {"logits": self.body(x)}]
        return self.seen[1]["logits"]


class ChangesItsInput(Wrapped):
    def forward(self, x):
        return self.body(x.sub_(0.5).div_(0.5))


class HasALock(Wrapped):
    def __init__(self, body):
        super().__init__(body)
        self.lock, self.held = threading.Lock(), {"of": [threading.Event()]}


class HasASpareHead(Wrapped):
    def __init__(self, body):
        super().__init__(body)
        self.spare = nn.Linear(2, 2)


class Counts(Wrapped):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return self.body(x) * torch.ones(3, device=x.device, dtype=x.dtype)


def with_own_forward(body):
    model, forward = Wrapped(body), body.forward
    model.forward = lambda x: 2 * forward(x)
    return model


def with_bound_forward(body):
    model = Wrapped(body)
    model.forward = types.MethodType(lambda self, x: self.body(x) / 2, model)
    return model


def with_hooks(body):
    model = Wrapped(body)
    model.register_forward_hook(lambda module, _, y: y + module.body[-1].bias.sum())
    body[-1].register_forward_pre_hook(lambda _, given: (given[0] * 1.5,))
    return model


def pruned(body):
    prune.l1_unstructured(body[-1], "weight", 0.5)
    return body


def normed(body):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(body[-1])
    return body


def normed_anew(body):
    parametrizations.weight_norm(body[-1])
    return body


def spectral(body):
    parametrizations.spectral_norm(body[-1])
    return body


def tied(body):
    model = Wrapped(body)
    model.again = body[-1]
    return model


def partly_frozen(body):
    body[0].requires_grad_(False)
    return body


def averaged(body):
    return torch.optim.swa_utils.AveragedModel(body)


KINDS = {
    "plain": lambda body: body,
    "data parallel": nn.DataParallel,
    "compiled": lambda body: torch.compile(body, backend="eager"),
    "scripted": torch.jit.script,
    "keeps features": KeepsFeatures,
    "changes its input": ChangesItsInput,
    "has a lock": HasALock,
    "spare head": HasASpareHead,
    "counts": Counts,
    "own forward": with_own_forward,
    "bound forward": with_bound_forward,
    "hooks": with_hooks,
    "pruned": pruned,
    "weight norm": normed,
    "parametrized": normed_anew,
    "spectral": spectral,
    "tied": tied,
    "frozen": partly_frozen,
    "channels last": lambda body: body.to(memory_format=torch.channels_last),
    "averaged": averaged,
}
DTYPES = {"32": torch.float32, "64": torch.float64, "16": torch.float16}
DTYPES["bf16"] = torch.bfloat16
AROUND = {
    "nothing": contextlib.nullcontext,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}


def drawn(seed, kind="plain"):
    """A network of a kind; the same one for the same seed."""
    draw = random.Random(seed)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy layers, torch.jit
        torch.manual_seed(seed)
        return KINDS[kind](plain(draw))


def squared_gradients(model, x, y):
    """The diagonal Fisher by its definition."""
    model = model.eval()
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    total = {n: torch.zeros_like(p) for n, p in weights.items()}
    for i in range(len(x)):
        loss = functional.cross_entropy(model(x[i : i + 1].clone()), y[i : i + 1])
        found = torch.autograd.grad(loss, [*weights.values()], allow_unused=True)
        for name, g in zip(weights, found, strict=True):
            total[name] += 0 if g is None else g**2 / len(x)
    return total


def check_forgets(seed, kind, dtype, around):
    """What must hold of any network: see the module's docstring."""
    codes = mn.MnemonicCodes.draw(small(), seed=seed)
    x, y = codes.images.clone(), codes.labels
    model = drawn(seed, kind).to(DTYPES[dtype])
    strength = mn.Strength(0.1, 1.0)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    answer = model.eval()(x.to(DTYPES[dtype], copy=True)).detach().clone()
    with warnings.catch_warnings(), AROUND[around]():
        warnings.simplefilter("ignore")
        result = mn.forget(model, codes, [1], strength=strength, sign=1)
    assert torch.equal(codes.images, x)
    after = model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert torch.equal(model(x.to(DTYPES[dtype], copy=True)), answer)
    moved = dict(result.model.named_parameters())
    assert {n: p.dtype for n, p in moved.items()} == {
        n: p.dtype for n, p in model.named_parameters()
    }
    wide = (drawn(seed, kind).to(DTYPES[dtype])).to(
        torch.float64 if dtype == "64" else torch.float32
    )
    x = x.to(next(wide.parameters()).dtype)
    f_forget = squared_gradients(wide, x[1:2], y[1:2])
    f_remain = squared_gradients(wide, x[[0, 2]], y[[0, 2]])
    tolerance = {"16": 2e-2, "bf16": 5e-2}.get(dtype, 2e-3)
    for name, p in wide.named_parameters():
        expected = p.detach().double()
        if p.requires_grad:
            eta = (f_forget[name].double() + 1e-30) / (f_remain[name].double() + 1e-30)
            expected = expected + min(0.1, 1.0 / float(eta.max())) * eta
        difference = (moved[name].double() - expected).abs().max()
        assert difference <= tolerance * max(1, float(expected.abs().max())), name
    with torch.no_grad():  # the copy runs on its own weights
        for p in moved.values():
            p.zero_()
    assert torch.equal(model(codes.images.to(DTYPES[dtype], copy=True)), answer)


def scaled_by(value):
    return lambda module, _, y: value * y


class Doubles(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def set_to(name, value):
    def change(model):
        setattr(model[-1], name, value)

    return change


def one_weight(model):
    with torch.no_grad():
        weight = model[-1].weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))


def one_activation(model):
    at = next(i for i, m in enumerate(model) if type(m) in (nn.ReLU, nn.Tanh, nn.GELU))
    model[at] = nn.Sigmoid()


def one_class(model):
    model[-1].__class__ = Doubles


def tie(model):
    model[-1].bias = nn.Parameter(model[-1].bias.detach().clone())
    model.register_parameter("again", model[-1].bias)


def untied(model):
    tie(model)
    model.again = nn.Parameter(model[-1].bias.detach().clone())


CHANGES = {
    "nothing": lambda model: None,
    "frozen": lambda model: model[-1].requires_grad_(False),
    "frozen bias": lambda model: model[-1].bias.requires_grad_(False),
    "a weight": one_weight,
    "an activation": one_activation,
    "a class": one_class,
    "tied": tie,
    "untied": untied,
    "float64": lambda model: model.double(),
    "a hook": lambda model: model[-1].register_forward_hook(scaled_by(2)),
    "its closure": lambda model: model[-1].register_forward_hook(scaled_by(3)),
    "a gradient's hook": lambda model: model[-1].weight.register_hook(lambda g: g * 2),
    "dropout": lambda model: model.append(nn.Dropout(0.0)),
    "its share": lambda model: model.append(nn.Dropout(0.1)),
    "forward": lambda model: setattr(
        model[-1], "forward", types.MethodType(nn.Linear.extra_repr, model[-1])
    ),
    "a buffer": lambda model: model.register_buffer("b", torch.ones(1)),
    "none kept": lambda model: model.register_buffer("b", torch.ones(1), False),
    "its value": lambda model: model.register_buffer("b", torch.zeros(1), False),
} | {
    f"attribute {value!r}": set_to("scale", value)
    for value in (
        1, 1.0, True, "1", None, (1, 2), [1, 2], [[1], 2], [1, [2]], {"a": 1}, {1: "a"},
        torch.ones(2), torch.zeros(2), torch.relu, torch.tanh, torch.float16, b"1",
        slice(1, 2), frozenset("ab"), {"a", "b", "c"}, range(2), 1j, nn.ReLU, nn.Tanh(),
    )
}  # fmt: skip


def check_keys(seed):
    """Networks that differ in one thing have keys of their own, and one each."""
    keys = {}
    for name, change in CHANGES.items():
        for _ in range(2):
            change(model := drawn(seed))
            keys.setdefault(name, []).append(contents(model))
        assert keys[name][0] == keys[name][1], name
        if name != "a gradient's hook":  # which torch does not copy
            assert keys[name][0] == contents(copy.deepcopy(model).eval()), name
    names = [*keys]
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            assert keys[one][0] != keys[two][0], (one, two)


def test_networks_that_differ_in_one_thing_have_other_keys():
    check_keys(1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_forgets_and_is_left_as_it_was(kind):
    check_forgets(1, kind, "32", "nothing")
    check_forgets(2, kind, "16", "inference")
    check_forgets(3, kind, "64", "autocast")


@pytest.mark.soak(why="five minutes of random networks")
def test_random_networks_of_all_kinds(record_property):
    end, draw = time.monotonic() + 300, random.Random(0)
    networks = rounds = 0
    while time.monotonic() < end:
        seed = draw.randrange(2**31)
        drawn_of = [draw.choice([*names]) for names in (KINDS, DTYPES, AROUND)]
        check_forgets(seed, *drawn_of)
        networks += 1
        if seed % 8 == 0:
            check_keys(seed)
            rounds += 1
    record_property("kinds", len(KINDS))
    record_property("networks", networks)
    record_property("pairs", rounds * math.comb(len(CHANGES), 2))
