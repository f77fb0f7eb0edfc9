"""Access and counts, the controls, and the methods that descend on a loss.

Updates are worked out a second time for a linear network, in float64 and from the slope
of the loss at the logits. With one batch an epoch no order of images matters.
"""

import copy
import dataclasses
import math
import threading
from types import SimpleNamespace

import pytest
import torch
from conftest import blobs
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.baselines.boundary import nearest_wrong
from mnemonic.baselines.counting import Counts, counted
from mnemonic.baselines.distances import kl
from mnemonic.baselines.random_label import other_labels
from mnemonic.baselines.salun import salient
from mnemonic.data.splits import ArraySplit
from mnemonic.storage import generator_for

WHOLE = 10**6  # a batch size: one batch an epoch
CLASSES = pytest.mark.parametrize("classes", [[1], [0, 2]])


class Spy(nn.Sequential):
    """Remembers inputs and logits, and the gradient that came back to the logits."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.seen = []

    def forward(self, inputs):
        logits = super().forward(inputs)
        if logits.requires_grad:
            entry = SimpleNamespace(
                training=self.training, inputs=inputs.detach(), logits=logits.detach()
            )
            self.seen.append(entry)
            logits.register_hook(lambda g: setattr(entry, "slopes", g.clone()))
        return logits


def linear(seed=0, k=3, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Spy(nn.Flatten(), nn.Linear(36, k, bias=bias))


def normed(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(36, 5),
            nn.BatchNorm1d(5),
            nn.ReLU(),
            nn.Linear(5, 3),
        )


def augmented(x):
    """Rows ``[n, D + 1]`` in float64; the last column goes with the bias."""
    return torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1).double()


def split_of(data, classes):
    """Rows and labels of the forget, and of the remaining training images."""
    x, y = augmented(data.inputs(data.train)), data.train.labels
    forgets = torch.tensor([label in classes for label in y.tolist()])
    return (x[forgets], y[forgets]), (x[~forgets], y[~forgets])


class ByHand:
    """A linear network and its SGD with momentum 0.9."""

    def __init__(self, model, decay=5e-4):
        self.w = self.matrix(model)
        self.first, self.velocity, self.decay = self.w, 0.0, decay

    @staticmethod
    def matrix(model):
        layer = model[-1]
        return torch.cat([layer.weight, layer.bias[:, None]], 1).detach().double()

    def ce(self, x, y):
        """Slope of the mean cross-entropy at the logits, by way of the weights."""
        p = (x @ self.w.T).softmax(1)
        return (p - torch.eye(p.shape[1])[y]).T @ x / len(x)

    def step(self, gradient, rate):
        self.velocity = 0.9 * self.velocity + gradient + self.decay * self.w
        self.w = self.w - rate * self.velocity

    def check(self, model):
        found = self.matrix(model)
        assert torch.allclose(found, self.w, atol=1e-5)
        assert (self.w - self.first).abs().max() > 1e-3  # there was something to see


def same_bits(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(
        torch.equal(v.cpu().nan_to_num(7.0), b[n].cpu().nan_to_num(7.0))
        for n, v in a.items()
    )


def poisoned(data, classes, kinds):
    """The same data, unreadable but for the training images of ``kinds``."""
    forgets = torch.isin(data.train.labels, torch.tensor(classes))
    allowed = torch.zeros_like(forgets)
    for kind in set(kinds) - {"codes"}:
        allowed |= forgets if kind == "forget" else ~forgets
    pixels = torch.where(allowed[:, None, None, None], data.train.pixels, torch.nan)
    nowhere = {
        part: ArraySplit(torch.full_like(s.pixels, torch.nan), s.labels)
        for part, s in (("validation", data.validation), ("test", data.test))
    }
    train = ArraySplit(pixels, data.train.labels)
    return dataclasses.replace(data, train=train, **nowhere)


# Access


def test_what_a_method_is_given_holds_no_image_past_the_gate(data, codes):
    given = mn.Access(data, [1], codes=codes).only({"forget"})
    for split in (given.data.train, given.data.validation, given.data.test):
        assert len(split) == len(split.pixels) == 0
    assert given.data.input_shape == data.input_shape
    assert given.only({"forget"}).data.class_names == data.class_names
    labels = given.only({"forget"}).images("forget").train.labels
    assert labels.tolist() == [1] * int((data.train.labels == 1).sum())


@pytest.mark.parametrize("asked", ["codes", "forget", "remaining"])
@pytest.mark.parametrize("declared", [(), ("codes",), ("forget",), ("remaining",)])
def test_only_what_is_declared_can_be_had(data, codes, declared, asked):
    access = mn.Access(data, [1], codes=codes).only(declared)

    def ask(access):
        return access.the_codes() if asked == "codes" else access.images(asked)

    if asked in declared:
        ask(access)
        return
    reads = " and ".join(declared) or "nothing"
    with pytest.raises(PermissionError, match=f"it reads {reads} and asks for {asked}"):
        ask(access)
    with pytest.raises(PermissionError):
        access.images("forget", "remaining")
    with pytest.raises(PermissionError):  # narrower for good
        ask(access.only(["codes", "forget", "remaining"]))
    assert sum(access.counts.images.values()) == 0


@pytest.mark.parametrize("kind", ["codes", "validation", "test", "train"])
def test_no_other_images_can_be_had(data, codes, kind):
    access = mn.Access(data, [1], codes=codes)
    for narrowed in (access, access.only({kind})):
        with pytest.raises(ValueError, match=f"'{kind}' .* 'forget' or 'remaining'"):
            narrowed.images(kind)
    handed = access.images("forget", "remaining")
    assert len(handed.validation) == len(handed.test) == 0


def test_a_method_is_held_to_what_it_declares(data):
    cheat = dataclasses.replace(mn.METHODS["finetune"], reads=frozenset({"forget"}))
    with pytest.raises(PermissionError, match="reads forget and asks for remaining"):
        cheat(linear(), mn.Access(data, [1]))


@CLASSES
def test_handed_images_are_those_of_their_kind(data, classes):
    access = mn.Access(data, classes)
    pixels, labels = data.train.pixels, data.train.labels
    forgets = torch.tensor([y in classes for y in labels.tolist()])
    for kinds, mask in (
        (("forget",), forgets),
        (("remaining",), ~forgets),
        (("remaining", "forget"), forgets | True),
    ):
        train = access.images(*kinds).train
        assert torch.equal(train.pixels, pixels[mask])
        assert torch.equal(train.labels, labels[mask])


def rows_of(handed, data):
    """Positions in the training split of what was handed over."""
    equal = (handed.train.pixels[:, None] == data.train.pixels[None]).flatten(2).all(2)
    return [row.nonzero().item() for row in equal]


def test_some_of_each_class_are_drawn(data):
    access = mn.Access(data, [1])
    drawn = []
    for seed in (0, 0, 1):
        handed = access.images("forget", "remaining", per_class=5, seed=seed)
        assert torch.bincount(handed.train.labels).tolist() == [5, 5, 5]
        drawn.append(rows_of(handed, data))
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(set(drawn[0]))
    for c in range(3):  # not the first of each
        members = (data.train.labels == c).nonzero()[:5, 0].tolist()
        assert not set(members) <= set(drawn[0])
    assert len(access.images("forget", per_class=1000).train) == 36


@pytest.mark.parametrize(("share", "n"), [(0.3, 22), (0.5, 36), (1.0, 72)])
def test_a_share_of_the_remaining_images_is_drawn(data, share, n):
    access = mn.Access(data, [1])
    handed = access.images("forget", "remaining", share=share, seed=3)
    forgets = handed.train.labels == 1
    assert forgets.sum() == 36
    assert (~forgets).sum() == n  # rounded up
    other = access.images("forget", "remaining", share=share, seed=4)
    assert (rows_of(handed, data) == rows_of(other, data)) == (share == 1)


def test_a_mask_narrows_further(data):
    where = torch.arange(108) % 3 == 0
    access = mn.Access(data, [1])
    expected = [i for i in range(0, 108, 3) if data.train.labels[i] != 1]
    assert rows_of(access.images("remaining", where=where), data) == expected
    few = rows_of(access.images("remaining", where=where, per_class=2), data)
    assert len(few) == 4
    assert set(few) < set(expected)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"share": 0.0}, "share is 0.0; give a number above 0 and up to 1"),
        ({"share": 1.5}, "share is 1.5; give a number above 0"),
        ({"share": math.nan}, "share is nan"),
        ({"per_class": 0}, "per_class is 0; give an integer of 1 or more"),
        ({"per_class": 1.5}, "per_class is 1.5"),
        (
            {"where": torch.zeros(3, dtype=torch.bool)},
            r"where is torch.bool of shape \[3\]",
        ),
        ({"where": torch.zeros(108)}, "where is torch.float32 of shape"),
    ],
)
def test_draws_that_cannot_be_are_refused(data, how, said):
    access = mn.Access(data, [1])
    with pytest.raises(ValueError, match=said):
        access.images("forget", "remaining", **how)
    assert access.counts.images["forget"] == 0


def test_different_images_are_counted_once(data, codes):
    access = mn.Access(data, [1], codes=codes)
    narrowed = access.only({"forget", "remaining"})
    narrowed.images("forget")
    narrowed.images("forget")
    a, b = (
        set(rows_of(narrowed.images("remaining", per_class=4, seed=s), data))
        for s in (0, 1)
    )
    access.the_codes()
    assert len(a | b) > 8
    counts = {"codes": 3, "forget": 36, "remaining": len(a | b)}
    assert access.counts.images == counts
    assert access.counts.visits == {"codes": 3, "forget": 0, "remaining": 0}
    again = access.recounted()
    assert sum(again.counts.images.values()) == 0
    again.images("forget", "remaining", per_class=2)
    assert again.counts.images == {"codes": 0, "forget": 2, "remaining": 4}
    assert access.counts.images == counts


@pytest.mark.parametrize("number", [False, True])
def test_every_visit_is_counted(data, number):
    access = mn.Access(data, [0, 2])
    handed = access.images("forget", "remaining")
    handed = handed.numbered() if number else handed
    generator = generator_for("x", 0)
    first = next(handed.shuffled(40, generator))  # a batch, and no more
    labels = data.train.labels[first[1]] if number else first[1]
    n = int((labels != 1).sum())
    assert 0 < n < 40
    assert access.counts.visits == {"codes": 0, "forget": n, "remaining": 40 - n}
    list(handed.shuffled(40, generator))
    list(handed.in_order(50, torch.device("cpu")))
    handed.inputs(handed.train)
    handed.inputs(handed.train, torch.tensor([0, 1, 2, 3]))  # classes 0, 1, 2, 0
    expected = {"codes": 0, "forget": n + 3 * 72 + 3, "remaining": 40 - n + 3 * 36 + 1}
    assert access.counts.visits == expected


def test_numbers_say_which_image_it_is(data):
    handed = mn.Access(data, [1]).images("remaining").numbered()
    inputs = data.inputs(handed.train)
    seen = []
    for x, positions in handed.shuffled(20, generator_for("x", 0)):
        assert torch.equal(x, inputs[positions])
        seen += positions.tolist()
    assert seen != sorted(seen) == list(range(72))


def test_training_images_are_augmented_and_others_are_not(data):
    data = dataclasses.replace(data, augmentation="crop-flip")
    handed = mn.Access(data, [1]).images("forget").numbered()
    plain = data.inputs(handed.train)
    changed = [
        not torch.equal(x, plain[i])
        for batch in handed.shuffled(10, generator_for("x", 0))
        for x, i in zip(*batch, strict=True)
    ]
    assert 0.8 < sum(changed) / 36 < 1.01
    for x, i in handed.in_order(10, torch.device("cpu")):
        assert torch.equal(x, plain[i])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "0 of 3 classes"),
        ([0, 1, 2], "3 of 3 classes"),
        ([3], r"class 3 is not in 0\.\.2"),
        ([1, 1], "repeat one"),
    ],
)
def test_classes_to_forget_are_checked(data, classes, message):
    with pytest.raises(ValueError, match=message):
        mn.Access(data, classes)
    assert mn.Access(data, [2, 0]).classes == (0, 2)


NEEDS = {
    "codes": (["mnemonic", "random-noise", "lwsf"], r"Access\(\.\.\., codes=codes\)"),
    "build": (["retrain", "bad-teacher", "gkt", "ntk-f"], r"\(\.\.\., build=lambda"),
    "recipe": (["retrain"], r"Access\(\.\.\., recipe=mn\.Recipe"),
    "built_with": (["ntk-f"], r"Access\(\.\.\., built_with=seed\)"),
}


@pytest.mark.parametrize(
    ("missing", "name"),
    [(m, name) for m, (names, _) in NEEDS.items() for name in names],
)
def test_what_is_missing_is_named(data, codes, missing, name):
    given = {"codes": codes, "build": linear, "recipe": mn.Recipe(epochs=1)}
    access = mn.Access(data, [1], **(given | {"built_with": 0} | {missing: None}))
    with pytest.raises(ValueError, match=NEEDS[missing][1]):
        mn.METHODS[name](linear(), access)


@pytest.mark.parametrize("missing", ["build", "recipe"])
def test_what_preparation_misses_is_named(data, missing):
    given = {"build": linear, "recipe": mn.Recipe(epochs=1)}
    access = mn.Access(data, [1], **(given | {missing: None}))
    with pytest.raises(ValueError, match=NEEDS[missing][1]):
        mn.METHODS["finetune"].prepare(access)


def test_plain_preparation_is_training_on_everything(data):
    recipe = mn.Recipe(epochs=2, batch_size=30, learning_rate=0.1)
    access = mn.Access(data, [1], build=linear, recipe=recipe)
    found = mn.METHODS["finetune"].prepare(access, seed=4)
    expected = linear(4)
    mn.train(expected, data, recipe=recipe, seed=4, progress=False)
    assert same_bits(found, expected)
    assert not found.training


@pytest.mark.parametrize(
    ("name", "has"),
    [("delete", "learning_rate, epochs, batch_size"), ("original", "none")],
)
def test_unknown_settings_are_refused(data, name, has):
    with pytest.raises(ValueError, match=f"{name} has no setting a, b; it has {has}"):
        mn.METHODS[name](linear(), mn.Access(data, [1]), b=1, a=2)


# Backward passes


def loss_of(logits):
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def each_logit(net, x):
    for logit in net(x)[0]:
        torch.autograd.grad(logit, net[1].weight, retain_graph=True)


def twice(net, x):
    loss = loss_of(net(x))
    loss.backward(retain_graph=True)
    loss.backward()


def one_of_two(net, x):
    logits, _ = net(x), net(-x)
    loss_of(logits).backward()


def hidden(net, x, use):
    caught = []
    handle = net[2].register_forward_hook(lambda _, __, h: caught.append(h))
    logits = net(x)
    handle.remove()
    use(caught[0], logits)


def hidden_loss(h, logits):
    h.square().sum().backward()


def both_losses(h, logits):
    (h.sum() + loss_of(logits)).backward()


def one_by_one(h, logits):
    h.sum().backward(retain_graph=True)
    loss_of(logits).backward()


def penalty(net, x):
    x = x.clone().requires_grad_(True)
    loss = loss_of(net(x))
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + slope.norm()).backward()


def adversarial(net, x):
    net.requires_grad_(False)
    x = x.clone().requires_grad_(True)
    torch.autograd.grad(loss_of(net(x)), x)


def without_gradient(net, x):
    with torch.no_grad():
        net(x)


def after_an_error(net, x):
    with pytest.raises(RuntimeError):
        net(x[..., :3])
    loss_of(net(x)).backward()


def elsewhere(net, x):
    thread = threading.Thread(target=lambda: loss_of(net(x)).backward())
    thread.start()
    thread.join()


def generated(net, x, through=True):
    maker = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh())
    images = maker(x)
    (loss_of(net(images)) if through else images.square().sum()).backward()


# How a network is used, and how often its images are gone back through.
USES = {
    "a loss": (lambda net, x: loss_of(net(x)).backward(), 1),
    "no backward": (lambda net, x: loss_of(net(x)), 0),
    "no gradient": (without_gradient, 0),
    "four batches": (lambda net, x: [loss_of(net(x)).backward() for _ in "abcd"], 4),
    "one forward, two backwards": (twice, 2),
    "a Jacobian": (each_logit, 3),
    "two forwards": (lambda net, x: (loss_of(net(x)) + loss_of(net(-x))).backward(), 2),
    "one of two forwards": (one_of_two, 1),
    "two networks": (
        lambda net, x: kl(copy.deepcopy(net)(x), net(x)).sum().backward(),
        2,
    ),
    "a teacher": (lambda net, x: kl(net(-x).detach(), net(x)).sum().backward(), 1),
    "hidden features": (lambda net, x: hidden(net, x, hidden_loss), 1),
    "hidden features and logits": (lambda net, x: hidden(net, x, both_losses), 1),
    "hidden features, then logits": (lambda net, x: hidden(net, x, one_by_one), 2),
    "a gradient penalty": (penalty, 2),
    "gradient of the input": (adversarial, 1),
    "last layer": (lambda net, x: torch.autograd.grad(net(x).sum(), net[3].bias), 1),
    "through a generator": (generated, 1),
    "a generator alone": (lambda net, x: generated(net, x, through=False), 0),
    "after an error": (after_an_error, 1),
    "another thread": (elsewhere, 0),
}


@pytest.mark.parametrize("name", list(USES))
def test_backward_passes_are_counted(tiny, name):
    (use, passes), counts, x = USES[name], Counts(), torch.rand(7, 1, 6, 6)
    with counted(counts):
        use(tiny, x)
    assert counts.backward_passes == 7 * passes
    loss_of(tiny(x).requires_grad_(True)).backward()  # afterwards nothing is counted
    assert counts.backward_passes == 7 * passes


# Work: D_F has 36 images and D_R 72; batches of 20


@pytest.mark.parametrize("e", [1, 3])
@pytest.mark.parametrize(
    ("name", "ahead", "of_forget", "of_remaining"),
    [
        ("finetune", 0, lambda e: 0, lambda e: e),
        ("neggrad", 0, lambda e: e, lambda e: 0),
        # four steps an epoch, with 20, 16, 20 and 16 forget images
        ("neggrad-plus", 0, lambda e: 2 * e, lambda e: e),
        ("random-label", 0, lambda e: e, lambda e: e),
        ("bad-teacher", 0, lambda e: e, lambda e: e),
        ("scrub", 0, lambda e: min(e, 2), lambda e: e),
        ("salun", 1, lambda e: e, lambda e: e),  # the mask takes a pass over D_F
        ("l1-sparse", 0, lambda e: 0, lambda e: e),
        ("boundary-shrink", 1, lambda e: e, lambda e: 0),  # and so does the attack
        ("boundary-expand", 0, lambda e: e, lambda e: 0),
        ("delete", 0, lambda e: e, lambda e: 0),
    ],
)
def test_work_is_passes_times_images(data, e, name, ahead, of_forget, of_remaining):
    access = mn.Access(data, [1], build=linear)
    how = {"forget_batch_size": 20} if name == "scrub" else {}
    result = mn.METHODS[name](linear(), access, epochs=e, batch_size=20, **how)
    n_forget, n_kept = 36, 22 if name == "bad-teacher" else 72
    counts, passes = result.counts, (of_forget(e), of_remaining(e))
    forget, remaining = n_forget * (ahead + passes[0]), n_kept * passes[1]
    assert counts.visits == {"codes": 0, "forget": forget, "remaining": remaining}
    assert counts.backward_passes == forget + remaining
    assert access.counts.backward_passes == 0
    # each image in every pass, in batches, in another order each time
    batches = [s.inputs for s in result.model.seen if s.training]
    _, times = torch.cat(batches).flatten(1).unique(dim=0, return_counts=True)
    assert set(times.tolist()) == set(passes) - {0}
    assert max(map(len, batches)) == 20
    full = [tuple(b.flatten().tolist()) for b in batches if len(b) == 20]
    assert len(set(full)) == len(full)


# Controls


def k_rows_hidden():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 3), nn.Tanh(), nn.Linear(3, 3, bias=False)
    )


@CLASSES
@pytest.mark.parametrize(
    "make", [linear, lambda: linear(bias=False), normed, k_rows_hidden]
)
def test_row_zeroing_switches_outputs_off_and_nothing_else(data, make, classes):
    model = make().eval()
    result = mn.METHODS["row-zeroing"](model, mn.Access(data, classes))
    x = data.inputs(data.test)
    old, new = model(100 * x), result.model(100 * x)
    kept = [c for c in range(3) if c not in classes]
    assert torch.equal(new[:, kept], old[:, kept])
    assert torch.equal(new.argmax(1), torch.tensor(kept)[old[:, kept].argmax(1)])
    last, state = f"{len(model) - 1}.", result.model.state_dict()
    assert (state[f"{last}weight"][classes] == 0).all()
    for name, value in model.state_dict().items():
        same = state[name] == value
        assert same[kept].all() if name.startswith(last) else same.all()
    scores = mn.evaluate(result.model, data, classes)
    assert scores.forgetting_error == 100


@CLASSES
def test_random_noise_is_as_long_as_the_step_of_the_codes(learned, classes):
    model, data, codes = learned
    stepped = mn.forget(model, codes, classes).model
    access = mn.Access(data, classes, codes=codes)
    noisy, again, other = (
        mn.METHODS["random-noise"](model, access, seed=s).model for s in (0, 0, 1)
    )
    for w, a, b in zip(*(m.parameters() for m in (model, stepped, noisy)), strict=True):
        step, noise = ((v - w).flatten() for v in (a, b))
        assert noise.norm().item() == pytest.approx(step.norm().item(), rel=1e-3)
        if len(noise) > 100:  # Gaussian, and in a direction of its own
            z = noise * math.sqrt(len(noise)) / noise.norm()
            assert torch.cosine_similarity(step, noise, dim=0).abs() < 0.3
            assert (z.abs() < 1).float().mean().item() == pytest.approx(0.683, abs=0.06)
    assert same_bits(noisy, again)
    assert not same_bits(noisy, other)


# Retrain


@CLASSES
def test_retrained_networks_share_nothing_with_the_original(data, classes):
    """Weights, biases, BatchNorm's statistics and counter: all new."""
    seeds, recipe = [], mn.Recipe(epochs=2, batch_size=30, learning_rate=0.1)

    def build(seed):
        seeds.append(seed)
        return normed(seed)

    access = mn.Access(data, classes, build=build, recipe=recipe, built_with=0)
    method = mn.METHODS["retrain"]
    model = method.prepare(access, seed=0)
    result = method(model, access, seed=0)
    state = result.model.state_dict()
    assert len(state) == 9
    for name, value in model.state_dict().items():
        assert (value != state[name]).float().mean() > 0.8, name
    # a seed of its own, fresh weights, the same recipe, the remaining images
    assert seeds[0] == 0 != seeds[1]
    expected = normed(seeds[1])
    rest = data.without(classes)
    mn.train(expected, rest, recipe=recipe, seed=seeds[1], progress=False)
    assert same_bits(result.model, expected)
    method(model, access, seed=1)
    assert len(set(seeds)) == 3


@CLASSES
def test_retraining_reads_no_forget_image(data, classes):
    recipe = mn.Recipe(epochs=2, batch_size=30, learning_rate=0.1)
    runs = []
    for shown in (data, poisoned(data, classes, ["remaining"])):
        access = mn.Access(shown, classes, build=normed, recipe=recipe)
        runs.append(mn.METHODS["retrain"](normed(), access))
    assert same_bits(runs[0].model, runs[1].model)
    assert all(v.isfinite().all() for v in runs[1].model.state_dict().values())
    n = 108 - 36 * len(classes)
    assert runs[0].counts.images == {"codes": 0, "forget": 0, "remaining": n}
    assert runs[0].counts.visits == {"codes": 0, "forget": 0, "remaining": 2 * n}
    assert runs[0].counts.backward_passes == 2 * n


# Descent, with one batch an epoch


def run(name, data, classes, model=None, **settings):
    access = mn.Access(data, classes, build=linear)
    settings = {"batch_size": WHOLE, **settings}
    return mn.METHODS[name](model or linear(), access, **settings).model


@CLASSES
def test_finetune_descends_on_the_remaining_images(data, classes):
    hand, (_, kept) = ByHand(linear()), split_of(data, classes)
    for _ in range(3):
        hand.step(hand.ce(*kept), 0.05)
    hand.check(run("finetune", data, classes, epochs=3, learning_rate=0.05))


@CLASSES
def test_neggrad_climbs_on_the_forget_images(data, classes):
    hand, (gone, _) = ByHand(linear()), split_of(data, classes)
    for _ in range(3):
        hand.step(-hand.ce(*gone), 0.05)
    hand.check(run("neggrad", data, classes, epochs=3, learning_rate=0.05))


@CLASSES
@pytest.mark.parametrize("alpha", [0.95, 0.6])
def test_neggrad_plus_weighs_descent_and_ascent(data, classes, alpha):
    hand, (gone, kept) = ByHand(linear()), split_of(data, classes)
    for _ in range(3):
        hand.step(alpha * hand.ce(*kept) - (1 - alpha) * hand.ce(*gone), 0.05)
    how = {"alpha": alpha, "epochs": 3, "learning_rate": 0.05}
    hand.check(run("neggrad-plus", data, classes, **how))


@CLASSES
def test_l1_sparse_lets_go_of_the_pull_to_zero(data, classes):
    """γ, ⅔ γ, ⅓ γ, on all parameters: the biases too."""
    hand, (_, kept) = ByHand(linear()), split_of(data, classes)
    for share in (1, 2 / 3, 1 / 3):
        hand.step(hand.ce(*kept) + 0.5 * share * hand.w.sign(), 0.05)
    how = {"gamma": 0.5, "epochs": 3, "learning_rate": 0.05}
    hand.check(run("l1-sparse", data, classes, **how))


@CLASSES
@pytest.mark.parametrize(("max_steps", "t"), [(2, 4.0), (0, 1.0)])
def test_scrub_leaves_the_teacher_on_forget_images_and_stays_elsewhere(
    data, classes, max_steps, t
):
    """For a = p_T, b = p_S at temperature T, d T² KL(a || b) / d logits = T (b - a).

    The first climb starts where the gradient is 0, so two epochs have one.
    """
    hand, (gone, kept) = ByHand(linear()), split_of(data, classes)

    def apart(x):
        a, b = ((x @ w.T / t).softmax(1) for w in (hand.first, hand.w))
        return t * (b - a).T @ x / len(x)

    for epoch in range(3):
        if epoch < max_steps:
            hand.step(-apart(gone[0]), 0.05)
        hand.step(0.9 * hand.ce(*kept) + 0.5 * apart(kept[0]), 0.05)
    how = {"max_steps": max_steps, "temperature": t, "gamma": 0.9, "alpha": 0.5}
    how |= {"forget_batch_size": WHOLE, "epochs": 3, "learning_rate": 0.05}
    hand.check(run("scrub", data, classes, **how))


@CLASSES
def test_delete_learns_the_answer_without_the_class(data, classes):
    hand, ((x, _), _) = ByHand(linear()), split_of(data, classes)
    aim = torch.zeros(len(x), 3).double()
    for n, logits in enumerate((x @ hand.w.T).tolist()):
        others = {c: math.exp(v) for c, v in enumerate(logits) if c not in classes}
        for c, v in others.items():
            aim[n, c] = v / sum(others.values())
    for _ in range(3):
        hand.step(((x @ hand.w.T).softmax(1) - aim).T @ x / len(x), 0.05)
    hand.check(run("delete", data, classes, epochs=3, learning_rate=0.05))


@CLASSES
def test_bad_teacher_sends_forget_images_to_a_random_network(data, classes):
    """Two steps of Adam, by hand; the good teacher is the network as it was."""
    seeds = []

    def build(seed):
        seeds.append(seed)
        return linear(seed)

    access = mn.Access(data, classes, build=build)
    how = {"share": 1.0, "batch_size": WHOLE, "epochs": 2, "learning_rate": 0.01}
    result = mn.METHODS["bad-teacher"](linear(), access, **how)
    hand, ((gone, _), (kept, _)) = ByHand(linear()), split_of(data, classes)
    (seed,) = seeds
    bad = ByHand.matrix(linear(seed))
    x = torch.cat([gone, kept])
    aim = torch.cat([gone @ bad.T, kept @ hand.first.T]).softmax(1)
    m = v = 0.0
    for t in (1, 2):
        g = ((x @ hand.w.T).softmax(1) - aim).T @ x / len(x)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        slope = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        hand.w = hand.w - 0.01 * slope
    hand.check(result.model)
    assert not torch.allclose(bad, hand.first, atol=0.05)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_leaves_out_what_the_teacher_rules_out(temperature):
    teacher = torch.tensor([[1.0, -torch.inf, 0.5], [0.0, 0.0, 0.0]])
    student = torch.tensor([[2.0, 9.0, -1.0], [3.0, 3.0, 3.0]], requires_grad=True)
    found = kl(teacher, student, temperature)
    a = [math.exp(v / temperature) for v in (1.0, 0.5)]
    b = [math.exp(v / temperature) for v in (2.0, 9.0, -1.0)]
    expected = sum(
        p / sum(a) * math.log(p / sum(a) * sum(b) / q)
        for p, q in zip(a, (b[0], b[2]), strict=True)
    )
    assert found.tolist() == pytest.approx([expected, 0.0], abs=1e-6)
    found.sum().backward()
    b = (student.detach() / temperature).softmax(1)
    slope = (b - (teacher / temperature).softmax(1)) / temperature
    assert torch.allclose(student.grad, slope, atol=1e-6)


# Random labels


def test_other_labels_are_uniform_over_the_others():
    labels = torch.arange(4).repeat(3000)
    drawn = other_labels(labels, 4, generator_for("x", 0))
    for true in range(4):
        counts = torch.bincount(drawn[labels == true], minlength=4).tolist()
        assert counts[true] == 0
        for other, n in enumerate(counts):
            assert other == true or abs(n - 1000) < 130  # five deviations


def labels_taught(model, data):
    """For each training image its labels, in the order they were taught.

    The slope of a cross-entropy is negative at the label alone.
    """
    pool = data.inputs(data.train)
    taught = [[] for _ in pool]
    for entry in model.seen:
        if entry.training:
            equal = (entry.inputs[:, None] == pool[None]).flatten(2).all(2)
            for row, slope in zip(equal, entry.slopes, strict=True):
                assert (slope < 0).sum() == 1
                taught[row.nonzero().item()].append(slope.argmin().item())
    return taught


@CLASSES
def test_random_labels_are_wrong_and_drawn_once(data, classes):
    drawn = []
    for seed in (0, 1):
        access = mn.Access(data, classes)
        how = {"epochs": 3, "batch_size": 50, "learning_rate": 1e-3, "seed": seed}
        model = mn.METHODS["random-label"](linear(), access, **how).model
        taught = labels_taught(model, data)
        for label, names in zip(data.train.labels.tolist(), taught, strict=True):
            assert len(names) == 3
            assert len(set(names)) == 1
            assert (names[0] == label) == (label not in classes)
        drawn.append([names[0] for names in taught])
    assert drawn[0] != drawn[1]
    once = mn.METHODS["random-label"](
        linear(),
        mn.Access(data, classes),
        epochs=1,
        batch_size=WHOLE,
        learning_rate=0.02,
    )  # Adam's first step is its rate
    step = (ByHand.matrix(once.model) - ByHand.matrix(linear())).abs()
    assert step.median() == pytest.approx(0.02, rel=1e-2)


# SalUn


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("dead", [0, 4])
def test_the_mask_marks_the_largest_gradients_of_all_weights(data, tiny, share, dead):
    """The gradients of two batches of unequal size add up; dead units have none."""
    with torch.no_grad():
        tiny[3].weight[:, :dead] = 0
    mask = salient(tiny, mn.Access(data, [1]).images("forget"), share, 20)
    x = data.inputs(data.train)[data.train.labels == 1]
    sizes = {}
    for part in (x[:20], x[20:]):
        loss = functional.cross_entropy(tiny(part), torch.ones(len(part)).long())
        gradients = torch.autograd.grad(loss, list(tiny.parameters()))
        for (name, _), g in zip(tiny.named_parameters(), gradients, strict=True):
            for i, v in enumerate(g.flatten().tolist()):
                sizes[name, i] = sizes.get((name, i), 0.0) + v
    marked = {
        (n, i) for n, m in mask.items() for i in m.flatten().nonzero()[:, 0].tolist()
    }
    assert len(sizes) == 203
    assert len(marked) == int(share * 203)  # zeros tie, and are not all taken
    least = min(abs(sizes[key]) for key in marked)
    assert all(abs(sizes[key]) <= least * (1 + 1e-3) for key in sizes.keys() - marked)


def test_a_soft_mask_of_salun_leaks_weight_decay(data):
    """Outside the mask the gradient is 0, and two steps of decay are left."""
    model, access, rate = linear(), mn.Access(data, [1]), 0.05
    how = {"epochs": 1, "batch_size": WHOLE, "learning_rate": rate, "share": 0.4}
    result = mn.METHODS["salun"](model, access, soft=True, **how)
    mask = salient(model, access.images("forget"), 0.4, WHOLE)
    m = torch.cat([mask["1.weight"], mask["1.bias"][:, None]], 1)
    found, first = ByHand.matrix(result.model), ByHand.matrix(model)
    w, velocity = first, 0.0
    for _ in range(2):
        velocity = 0.9 * velocity + 5e-4 * w
        w = w - rate * velocity
    assert torch.allclose(found[~m], w[~m], rtol=1e-6, atol=1e-8)
    assert (found[~m] != first[~m]).all()
    hard = ByHand.matrix(mn.METHODS["salun"](model, access, **how).model)
    assert not torch.allclose(found[m], first[m], atol=1e-4)
    assert torch.equal(hard[~m], first[~m])


@CLASSES
def test_salun_moves_the_masked_weights_alone(data, classes):
    """Two epochs by hand, with the labels that were drawn; decay and momentum on."""
    model, access = linear(), mn.Access(data, classes)
    how = {"epochs": 2, "batch_size": WHOLE, "learning_rate": 0.05, "share": 0.4}
    result = mn.METHODS["salun"](model, access, **how)
    mask = salient(model, access.images("forget"), 0.4, WHOLE)
    m = torch.cat([mask["1.weight"], mask["1.bias"][:, None]], 1)
    found, first = ByHand.matrix(result.model), ByHand.matrix(model)
    assert torch.equal(found[~m], first[~m])
    assert (found[m] != first[m]).all()
    assert [e.training for e in result.model.seen] == [False] + [True] * 4
    hand, (gone, kept) = ByHand(model), split_of(data, classes)
    for i, entry in enumerate(result.model.seen[1:]):
        x, labels = augmented(entry.inputs), entry.slopes.argmin(1)
        expected = kept if i % 2 else gone
        assert len(x) == len(expected[0])
        gradient = hand.ce(x, labels)
        if i % 2:
            assert torch.allclose(gradient, hand.ce(*kept))
        hand.step(gradient, 0.05)
        hand.w = torch.where(m, hand.w, hand.first)
        hand.velocity = hand.velocity * m
    hand.check(result.model)


def test_salun_draws_new_labels_each_epoch_from_all_classes(data):
    access = mn.Access(data, [1])
    how = {"epochs": 20, "batch_size": 36, "learning_rate": 1e-4}
    model = mn.METHODS["salun"](linear(), access, **how).model
    counts = [0, 0, 0]
    for label, names in zip(data.train.labels, labels_taught(model, data), strict=True):
        assert len(names) == 20
        assert (set(names) == {label.item()}) == (label != 1)
        for name in names if label == 1 else ():
            counts[name] += 1
    assert sum(counts) == 720
    assert all(abs(n - 240) < 65 for n in counts)  # five deviations


# Boundaries

# Two pixels (a, b) and, in pixel units, logits 0, 10 (a - 0.6), 10 (b - 1.02) and
# 10 (0.1 - a): what one step of 0.1 does can be read off.
PIXELS = {
    # image, label: answer after the step
    ((0.55, 0.30), 0): 1,  # a + 0.1 passes 0.6; a quarter of it would not
    ((0.30, 0.97), 0): 0,  # b would pass 1.02, but 1 is where pixels end
    ((0.30, 0.30), 0): 0,  # too far from everything
    ((0.15, 0.30), 0): 3,  # class 3 is nearer than 1: a - 0.1
    ((0.65, 0.30), 1): 0,
    ((0.90, 0.30), 1): 1,
    ((0.30, 0.99), 2): 0,
    ((0.02, 0.30), 3): 0,
}


@pytest.fixture
def plane():
    images = torch.tensor([p for p, _ in PIXELS]).reshape(-1, 1, 1, 2)
    split = ArraySplit(images, torch.tensor([c for _, c in PIXELS]))
    data = mn.ImageData(
        "plane", tuple("abcd"), split, split, split,
        torch.tensor([0.5]), torch.tensor([0.25]),
    )  # fmt: skip
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 4))
    in_pixels = torch.tensor([[0.0, 0], [10, 0], [0, 10], [-10, 0]])
    offsets = torch.tensor([0, -6.0, -10.2, 1.0])
    with torch.no_grad():
        model[1].weight.copy_(0.25 * in_pixels)
        model[1].bias.copy_(offsets + 0.5 * in_pixels.sum(1))
    return model, data


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_nearest_wrong_answer_is_one_step_away_in_pixels(plane, batch_size):
    model, data = plane
    handed = mn.Access(data, [0]).images("forget", "remaining")
    found = nearest_wrong(model, handed, 0.1, batch_size)
    assert found.tolist() == list(PIXELS.values())


@pytest.mark.parametrize("classes", [[0], [0, 1]])
def test_boundary_shrink_teaches_the_nearest_wrong_answers(plane, classes):
    """Where the step ends in a class to forget, the image is left out of the mean."""
    model, data = plane
    used = [
        (i, answer)
        for i, ((_, label), answer) in enumerate(PIXELS.items())
        if label in classes and answer not in classes
    ]
    assert len(used) == (2 if classes == [0] else 1)
    x = augmented(data.inputs(data.train, torch.tensor([i for i, _ in used])))
    y = torch.tensor([answer for _, answer in used])
    hand = ByHand(model, decay=0.0)
    for _ in range(3):
        hand.step(hand.ce(x, y), 0.05)
    how = {"epochs": 3, "learning_rate": 0.05}
    hand.check(run("boundary-shrink", data, classes, model, **how))
    stays = run("boundary-shrink", data, classes, model, bound=0.0, **how)
    assert same_bits(stays, model)


@CLASSES
@pytest.mark.parametrize("bias", [True, False])
def test_boundary_expand_adds_a_class_and_cuts_it_off(data, classes, bias):
    """First step by hand; of the new row only its logits are taken from the run."""
    model = linear(bias=bias)
    how = {"epochs": 1, "learning_rate": 0.05}
    after = run("boundary-expand", data, classes, model, **how)
    assert after[1].weight.shape == (3, 36)
    assert (after[1].bias is not None) == bias
    assert after(data.inputs(data.test)).shape == (120, 3)
    entry = after.seen[0]
    assert len(entry.inputs) == 36 * len(classes)
    assert entry.logits.shape[1] == 4
    old = model(entry.inputs).detach()
    assert torch.allclose(entry.logits[:, :3], old, atol=1e-6)
    new = entry.logits[:, 3]
    assert new.std() > 0.1
    assert new.abs().max() < 10
    p = torch.cat([old, new[:, None]], 1).softmax(1)[:, :3] / len(old)
    gradient = p.T @ entry.inputs.flatten(1)
    assert torch.allclose(after[1].weight, model[1].weight - 0.05 * gradient, atol=1e-6)
    if bias:
        assert torch.allclose(after[1].bias, model[1].bias - 0.05 * p.sum(0), atol=1e-6)
    assert (after[1].weight - model[1].weight).abs().max() > 1e-3
    for entry in run("boundary-expand", data, classes, epochs=3).seen[:3]:
        assert (entry.slopes < 0).nonzero()[:, 1].unique().tolist() == [3]


# All methods

SMALL = {
    "bad-teacher": {"epochs": 2, "batch_size": 32},
    "boundary-shrink": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01},
    "boundary-expand": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01},
    "delete": {"epochs": 2, "batch_size": 16},
    "erm-ktp": {"epochs": 2, "batch_size": 32},
    "error-min-max": {"n_noise": 2, "repeats": 4, "epochs": 1, "batch_size": 16},
    "fastmu": {"per_class": 8, "n_noise": 4, "copies": 2, "steps": 3, "batch_size": 16},
    "finetune": {"epochs": 2, "batch_size": 32},
    "gkt": {"cycles": 2, "student_steps": 2, "batch_size": 16, "gate": 0.9},
    "l1-sparse": {"epochs": 2, "batch_size": 32},
    "lipschitz": {"n_copies": 2, "batch_size": 16},
    "lwsf": {"steps": 3},
    "mnemonic-data": {"per_class": 3},
    "neggrad": {"epochs": 2, "batch_size": 16},
    "neggrad-plus": {"epochs": 2, "batch_size": 32},
    "ntk-f": {"per_class": 2},
    "random-label": {"epochs": 1, "batch_size": 32},
    "salun": {"epochs": 2, "batch_size": 32},
    "scrub": {"epochs": 2, "batch_size": 32},
    "sfdn": {"per_class": 4},
    "svd": {"per_class": 8},
    "damp": {"per_class": 8},
    "pour-p": {"per_class": 8},
    "synthetic-embeddings": {"n_vectors": 20, "epochs": 2},
    "unsc": {"epochs": 2, "batch_size": 16, "per_class": 8},
    "zs-pag": {"epochs": 2, "batch_size": 16, "n_images": 4},
}
ROWS = {"original", "row-zeroing", "deleted", "one-bias", "copied-row", "mean-row"}
NO_BACKWARD = ROWS | {"random-row", "svd", "damp", "damp-codes", "esc", "pour-p"}
NOTHING_RANDOM = ROWS | {"mnemonic", "lwsf", "damp-codes", "esc"}


@pytest.fixture(scope="module")
def world():
    """Data and codes of four classes, and what every method starts from."""
    shape = (1, 6, 6)
    data = mn.ImageData.from_arrays(
        train=blobs(160, 4, shape), test=blobs(80, 4, shape, 1), class_names="abcd"
    )
    starts = {}

    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4)
            )

    def access(method, classes, data=data):
        codes = mn.MnemonicCodes.draw(data, seed=0) if method.codes else None
        recipe = mn.Recipe(epochs=6, batch_size=32, learning_rate=0.1)
        how = {"build": build, "recipe": recipe, "t_mix": 0.3, "built_with": 1}
        return mn.Access(data, classes, codes=codes, **how)

    def start(method):
        if method.preparation not in starts:
            made = method.prepare(access(method, [0]), seed=1).cpu()
            starts[method.preparation] = made
        return starts[method.preparation]

    return SimpleNamespace(data=data, access=access, start=start)


@pytest.mark.parametrize("classes", [[2], [0, 1, 3]])
@pytest.mark.parametrize("name", list(mn.METHODS))
def test_every_method_keeps_the_rules(world, name, classes):
    method, how = mn.METHODS[name], SMALL.get(name, {})
    model = world.start(method).train()
    model.zero_grad()
    before, mode = copy.deepcopy(model), [m.training for m in model.modules()]
    noise = torch.random.get_rng_state()

    access = world.access(method, classes)
    result = method(model, access, seed=5, **how)

    # the given network, the access and the global random numbers are as they were
    assert same_bits(model, before)
    assert [m.training for m in model.modules()] == mode
    assert all(p.grad is None for p in model.parameters())
    assert result.model is not model
    assert sum(access.counts.images.values()) == 0
    assert torch.equal(torch.random.get_rng_state(), noise)

    # a network of K outputs in evaluation mode, without hooks
    assert not any(m.training for m in result.model.modules())
    device = next(result.model.parameters()).device
    logits = result.model(world.data.inputs(world.data.test).to(device))
    assert logits.shape == (80, 4)
    assert logits.isfinite().all()
    assert logits.requires_grad
    for module in result.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks

    # it reads all that it declares, and no more than there is
    limits = {"codes": 4, "forget": 36 * len(classes)}
    limits["remaining"] = 144 - limits["forget"]
    for kind, n in result.counts.images.items():
        assert (0 < n <= limits[kind]) if kind in method.reads else n == 0
        assert (result.counts.visits[kind] > 0) == (kind in method.reads)
    assert (result.counts.backward_passes == 0) == (name in NO_BACKWARD)
    assert result.classes == tuple(classes)
    assert result.seconds > 0

    # the same seed gives the same bits, also where the rest cannot be read
    rest = poisoned(world.data, classes, method.reads)
    again = method(model, world.access(method, classes, rest), seed=5, **how)
    assert same_bits(result.model, again.model)
    other = method(model, access, seed=6, **how)
    assert same_bits(result.model, other.model) == (name in NOTHING_RANDOM)
    assert same_bits(result.model, model) == (name == "original")


@pytest.mark.parametrize(
    "name", [name for name, m in mn.METHODS.items() if m.preparation is not None]
)
def test_plain_networks_do_where_no_part_is_missing(world, name):
    method, plain = mn.METHODS[name], world.start(mn.METHODS["finetune"])
    access = world.access(method, [2])
    if name in ("erm-ktp", "sisa"):
        with pytest.raises(ValueError, match=f'Sequential has none; .*"{name}"'):
            method(plain, access)
    else:
        result = method(plain, access, **SMALL.get(name, {}))
        assert result.model(world.data.inputs(world.data.test)).isfinite().all()
