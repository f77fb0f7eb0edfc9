"""What is kept at training: it adds up, it drops the class, and it brings it back."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.lab.by_design import designed, family
from mnemonic.lab.comparison import start
from mnemonic.lab.members import MEMBERS, SHARES
from mnemonic.lab.profiles import PROFILES
from mnemonic.lab.updates import recorded

SMALL = mn.Profile(
    "small", "mnist-5k", "mlp", mn.Recipe(epochs=20, learning_rate=0.05), t_mix=0.5,
    per_class=30, side=14, settings_of="quick",
)  # fmt: skip
WEIGHTS = 4 * (196 * 1000 + 1000 + 1000 * 10 + 10)  # bytes
HOW = {"schedule": "cosine", "weight_decay": 0.01, "learning_rate": 0.3}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(autouse=True)
def _one_cache(networks, monkeypatch, _own_cache):
    """The networks are the same in all tests."""
    monkeypatch.setenv("MNEMONIC_CACHE", str(networks))
    monkeypatch.setitem(PROFILES, "small", SMALL)


@pytest.fixture
def tiny():
    x = torch.rand(60, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 3
    return mn.ImageData.from_arrays(train=(x, y), test=(x, y), class_names="abc")


def network():
    torch.manual_seed(0)
    layers = nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 3)
    return nn.Sequential(nn.Flatten(), *layers)


def test_one_step_is_split_by_class(tiny):
    n = len(tiny.train)
    recipe = mn.Recipe(epochs=1, batch_size=n, **HOW)
    kept = recorded(network(), tiny, recipe, seed=0, classes=[0, 2])
    assert list(kept) == [0, 2]
    for k, delta in kept.items():
        fresh, own = network(), tiny.train.labels == k
        inputs = tiny.inputs(tiny.train, own.nonzero()[:, 0])
        labels = tiny.train.labels[own]
        loss = functional.cross_entropy(fresh(inputs), labels, reduction="sum") / n
        loss.backward()
        for name, w in fresh.named_parameters():
            assert torch.allclose(delta[name], -0.3 * w.grad, atol=1e-6)


def test_all_updates_and_the_first_weights_are_the_network(tiny):
    recipe = mn.Recipe(epochs=4, batch_size=16, **HOW)
    watched, plain, first = network(), network(), network()
    kept = recorded(watched, tiny, recipe, seed=0, classes=range(3))
    mn.train(plain, tiny, recipe=recipe, seed=0, progress=False)
    steps, speed = 16, [torch.zeros_like(w) for w in first.parameters()]
    with torch.no_grad():
        for step in range(steps):  # what decay and momentum make of the first weights
            for v, w in zip(speed, first.parameters(), strict=True):
                v.mul_(0.9).add_(w, alpha=0.01)
                w.sub_(v, alpha=0.15 * (1 + math.cos(math.pi * step / steps)))
    for name, w in watched.named_parameters():
        whole = first.get_parameter(name) + sum(k[name] for k in kept.values())
        assert torch.allclose(whole, w, atol=1e-5)
        assert torch.allclose(plain.get_parameter(name), w, atol=1e-5)


@pytest.fixture
def begun():
    access, model, _ = start(SMALL, mn.METHODS["mnemonic"], 0)
    return access, model.cpu()


@pytest.mark.parametrize("name", [n for n, m in MEMBERS.items() if m.undo])
def test_what_was_kept_undoes_what_it_did(begun, name):
    access, model = begun
    member, settings = MEMBERS[name], {"share": 1.0}
    model, kept = member.keep(model, access, 0)
    before = {n: w.clone() for n, w in model.named_parameters()}
    after = member.drop(model, kept, access, settings)
    assert mn.evaluate(after, access.data, [3]).forgetting_error > 90
    undone = dict(member.undo(after, kept, access, settings).named_parameters())
    for n, w in model.named_parameters():
        assert torch.equal(w, before[n])
    if name == "codes, the paper's step":  # a replay, which is another training
        return
    if "row" in name or "means" in name:
        undone.pop("3.bias")  # lowered by its margin
    for n, w in undone.items():
        assert torch.allclose(w, before[n], atol=1e-4)


def test_a_turn_is_that_of_forget(begun):
    access, model = begun
    member = MEMBERS["codes, turned row"]
    after = member.drop(*member.keep(model, access, 0), access, {})
    by_name = mn.forget(model, access.codes, [3], rule="turn").model
    for w, same in zip(after.parameters(), by_name.parameters(), strict=True):
        assert torch.allclose(w, same, atol=1e-5)


def test_each_share_of_the_updates_is_a_row():
    rows = designed(seed=0, setup="small", member="updates")
    assert [row["share"] for row in rows] == list(SHARES)
    assert {row["kept"] for row in rows} == {10 * WEIGHTS}
    assert rows[-1]["key"] > rows[-1]["one_number"]


def test_the_family_has_ours_and_those_of_chapter_9(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)  # others know no "small"
    methods = ("original", "one-bias", "sisa")
    runs = family("small", [0], ["class means"], methods).set_index("member")
    assert list(runs.index) == ["class means", "original", "one bias", "SISA"]
    images = 300 * 14 * 14 * 4
    assert list(runs["kept"]) == [40_000, 0, 0, images + 2 * WEIGHTS]
    assert list(runs["images"]) == [False, False, False, True]
    assert runs.loc["original", "training"] == 1 < runs.loc["class means", "training"]
    assert runs["output"].between(0, 100).all()
