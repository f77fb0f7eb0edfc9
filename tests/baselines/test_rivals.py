"""Methods of 2024 to 2026, each against a second calculation on tiny inputs."""

import copy
import math

import pytest
import torch
from conftest import blobs
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.baselines.attack import towards
from mnemonic.baselines.damp import separated
from mnemonic.baselines.subspaces import pooled_inputs, without
from mnemonic.baselines.synthetic_embeddings import embeddings
from mnemonic.baselines.unsc import used_by, with_more
from mnemonic.baselines.zs_pag import proxies, slopes
from mnemonic.fisher.squares import trainable
from mnemonic.networks.layers import last_layer, watched
from mnemonic.networks.running import run_with


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def _taught():
    """A network with convolution, BatchNorm and dropout that knows its data."""
    data = mn.ImageData.from_arrays(
        train=blobs(seed=0), test=blobs(seed=1), class_names=["a", "b", "c"]
    )
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(216, 12), nn.ReLU(), nn.Linear(12, 3),
    )  # fmt: skip
    recipe = mn.Recipe(epochs=8, batch_size=20, learning_rate=0.05)
    mn.train(model, data, recipe=recipe, progress=False)
    return model.eval().cpu()


@pytest.fixture
def taught(_taught):
    return copy.deepcopy(_taught)


def given_to_the_last(model, inputs):
    """What the layer that gives the logits is given, and the logits."""
    _, layer = last_layer(model, tuple(inputs.shape[1:]))
    seen = []
    with torch.no_grad(), watched({"": layer}, lambda *s: seen.append(s[1][0])):
        logits = model(inputs)
    return seen[0], logits


def of_class(data, classes):
    chosen = torch.isin(data.train.labels, torch.tensor(classes))
    return data.inputs(data.train, chosen.nonzero()[:, 0])


# What goes into a layer


def test_pooled_inputs_are_means_over_positions():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.Flatten(2), nn.Linear(4, 5), nn.Flatten(),
        nn.Linear(15, 2),
    )  # fmt: skip
    first, second = torch.rand(4, 2, 3, 3), torch.rand(2, 2, 3, 3)
    found = pooled_inputs(model, [(first, None), (second, None)])
    x = torch.cat([first, second])
    assert list(found) == ["0", "2", "4"]
    assert torch.allclose(found["0"], x.mean((2, 3)))
    assert torch.allclose(found["2"], model[:2](x).mean(1))
    assert torch.allclose(found["4"], model[:4](x))


@pytest.mark.parametrize("strength", [1.0, 0.4, 2.0])
def test_a_convolution_no_longer_hears_directions_of_its_channels(strength):
    layer, direction = (
        nn.Conv2d(3, 2, 2, bias=False),
        torch.tensor([[0.6], [0.0], [0.8]]),
    )
    x = torch.rand(5, 3, 4, 4)
    heard = torch.einsum("nchw,cr->nrhw", x, direction)
    quieter = x - strength * torch.einsum("nrhw,cr->nchw", heard, direction)
    wanted = functional.conv2d(quieter, layer.weight)
    weight = without(layer.weight, direction, strength)
    assert torch.allclose(functional.conv2d(x, weight), wanted, atol=1e-5)


# DAMP


def test_nearest_means_tell_a_class_by_hand():
    means = torch.tensor([[0.0], [4.0], [9.0]])
    rows = torch.tensor([[1.0], [3.0], [3.0], [5.0], [8.0], [7.0]])
    labels = torch.tensor([0, 0, 1, 1, 2, 1])
    # Called class 1: the second to fourth. Of its three, two; of the others, one.
    assert separated(rows, labels, means, [1]) == pytest.approx(2 / 3 + 2 / 3 - 1)
    assert separated(rows, labels, means, [1, 2]) == pytest.approx(1 + 1 / 2 - 1)
    assert separated(rows, 1 - labels.clamp(max=1), means, [1]) == 0


@pytest.mark.parametrize("classes", [[1], [0, 2]])
def test_damp_leaves_the_remaining_means_and_takes_what_is_the_classes_own(
    data, taught, classes
):
    """At the last layer, whose input moved only through the layers before it."""
    access = mn.Access(data, classes)
    after = mn.METHODS["damp"](taught, access).model
    images = data.inputs(data.train)
    labels, (features, _) = data.train.labels, given_to_the_last(taught, images)
    means = torch.stack([features[labels == k].mean(0) for k in range(3)]).double()
    kept = [k for k in range(3) if k not in classes]
    r = means[kept].T
    own = means[classes].T - r @ torch.linalg.pinv(r) @ means[classes].T
    a = separated(features.double(), labels, means, classes)
    assert a > 0.8
    w = taught[-1].weight.detach().double()
    wanted = w - a * w @ own @ torch.linalg.pinv(own)
    assert torch.allclose(after[-1].weight.double(), wanted, atol=1e-5)
    assert torch.allclose(after[-1].weight.double() @ r, w @ r, atol=1e-4)
    for old, new in zip(taught.modules(), after.modules(), strict=True):
        if isinstance(old, (nn.Linear, nn.Conv2d)):
            assert torch.equal(old.bias, new.bias)
        if isinstance(old, nn.BatchNorm2d):
            assert torch.equal(old.running_mean, new.running_mean)
    # One channel of pixels has nothing outside the span of two means.
    assert torch.equal(after[0].weight, taught[0].weight)
    assert not torch.equal(after[5].weight, taught[5].weight)


def test_damp_from_codes_takes_a_share_that_grows_with_depth(data, codes, taught):
    access = mn.Access(data, [1], codes=codes)
    after = mn.METHODS["damp-codes"](taught, access, strength=0.5).model
    inputs = pooled_inputs(taught, [(codes.images, None)])
    for i, (name, rows) in enumerate(inputs.items()):
        old, new = (m.get_submodule(name).weight.detach() for m in (taught, after))
        if rows.shape[1] > 2:
            fit = torch.linalg.lstsq(rows[[0, 2]].T, rows[1]).solution
            own = rows[1] - rows[[0, 2]].T @ fit
            share = 0.5 * (i + 1) / 3
            wanted = old @ (
                torch.eye(len(own)) - share * torch.outer(own, own) / own @ own
            )
            wanted = old - share * torch.outer(old @ own, own) / (own @ own)
            assert torch.allclose(new, wanted, atol=1e-4)
        else:
            assert torch.equal(old, new)


# ESC and POUR-P


@pytest.mark.parametrize(("share", "n"), [(0.01, 1), (0.2, 3), (0.0, 0)])
def test_esc_takes_the_first_directions_out_of_the_features(data, taught, share, n):
    after = mn.METHODS["esc"](taught, mn.Access(data, [1]), share=share).model
    h, _ = given_to_the_last(taught, of_class(data, [1]))
    _, vectors = torch.linalg.eigh(h.double().T @ h.double())  # ascending
    first = vectors.flip(1)[:, :n]
    x = torch.rand(7, 1, 6, 6)
    before, _ = given_to_the_last(taught, x)
    features, logits = given_to_the_last(after, x)
    wanted = before.double() - before.double() @ first @ first.T
    assert torch.allclose(features.double(), wanted, atol=1e-4)
    assert torch.allclose(taught[-1](features), logits, atol=1e-5)


def test_pour_p_silences_a_collapsed_class_and_leaves_a_simplex():
    """Features at the corners of a simplex, and rows along them."""
    corners = (torch.eye(4) - 1 / 4) + 3.0  # off the origin
    images = corners.repeat(5, 1).reshape(20, 1, 2, 2)
    labels = torch.arange(4).repeat(5)
    data = mn.ImageData.from_arrays(
        train=(images / 4, labels), test=(images / 4, labels), class_names="abcd",
        mean=0.0, std=0.25,
    )  # fmt: skip
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(4) - 1 / 4)
        model[1].bias.zero_()
    after = mn.METHODS["pour-p"](model, mn.Access(data, [2]))
    features, logits = given_to_the_last(after.model, data.inputs(data.test))
    logits = logits[:4]
    assert torch.allclose(logits[2], logits[2].mean().expand(4), atol=1e-4)
    kept = [0, 1, 3]
    assert logits[kept].argmax(1).tolist() == kept
    centred = features[:4] - features[:4].mean(0)
    angles = functional.cosine_similarity(centred[kept][:, None], centred[kept], dim=2)
    off = angles[~torch.eye(3, dtype=torch.bool)]
    assert torch.allclose(off, torch.full((6,), -1 / 2), atol=1e-3)  # of three


@pytest.mark.parametrize(("classes", "strength"), [([1], 1.0), ([0, 2], 0.3)])
def test_pour_p_moves_features_by_the_centred_means(data, taught, classes, strength):
    access = mn.Access(data, classes)
    after = mn.METHODS["pour-p"](taught, access, strength=strength).model
    h, _ = given_to_the_last(taught, data.inputs(data.train))
    means = torch.stack([h[data.train.labels == k].mean(0) for k in range(3)])
    centred = (means - means.mean(0))[classes].T
    projection = centred @ torch.linalg.pinv(centred)
    features, _ = given_to_the_last(after, data.inputs(data.train))
    wanted = h - strength * (h - means.mean(0)) @ projection
    assert torch.allclose(features, wanted, atol=1e-4)


# Synthetic embeddings


@pytest.mark.parametrize("classes", [(1,), (0, 2)])
def test_half_of_the_embeddings_are_named_as_forget_classes(data, classes):
    access, head = mn.Access(data, classes), nn.Linear(12, 3)
    access.generator = torch.Generator().manual_seed(0)
    vectors, names = embeddings(head, access, 200, 2.0)
    assert torch.equal(head(vectors).argmax(1), names)
    assert vectors.shape == (400, 12)
    assert access.forgets(names).sum() == 200
    assert len(vectors.unique(dim=0)) == 400
    assert vectors[~access.forgets(names)].std() == pytest.approx(2, abs=0.3)


def test_a_class_that_is_never_named_is_said_so(data):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    nn.init.constant_(model[1].bias[1:2], -1e4)
    with pytest.raises(ValueError, match=r"none of .* random vectors as one of \[1\]"):
        mn.METHODS["synthetic-embeddings"](model, mn.Access(data, [1]), n_vectors=5)


@pytest.mark.parametrize("rule", ["delete", "random-label", "neggrad-plus"])
def test_one_step_on_synthetic_embeddings(data, rule):
    """A batch of all, a linear head, and the slope of the loss at its logits."""
    model, access = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), mn.Access(data, [1])
    how = {"n_vectors": 50, "batch_size": 1000, "epochs": 1, "learning_rate": 0.1}
    result = mn.METHODS["synthetic-embeddings"](model, access, rule=rule, **how)
    access.generator = mn.storage.generator_for("synthetic-embeddings", 0)
    z, names = embeddings(model[1], access, 50, 1.0)
    p = model[1](z).softmax(1).detach()
    if rule == "delete":
        q = p.clone()
        q[:, 1] = 0
        slope = p - q / q.sum(1, keepdim=True)
    elif rule == "neggrad-plus":
        weight = torch.where(names == 1, -0.05, 0.95)[:, None]
        slope = weight * (p - torch.eye(3)[names])
    else:
        order = torch.randperm(100, generator=access.generator)
        shift = torch.empty_like(names).random_(1, 3, generator=access.generator)
        aim = names.clone()  # the shifts are drawn in the order of the batch
        aim[order] = torch.where(
            names[order] == 1, (names[order] + shift) % 3, names[order]
        )
        slope = p - torch.eye(3)[aim]
    moved = (model[1].weight - result.model[1].weight) / 0.1
    assert torch.allclose(moved, slope.T @ z / 100, atol=1e-4)
    moved = (model[1].bias - result.model[1].bias) / 0.1
    assert torch.allclose(moved, slope.mean(0), atol=1e-4)
    assert result.counts.backward_passes == 100


def test_synthetic_embeddings_know_their_rules_and_touch_the_last_layer(data, taught):
    access = mn.Access(data, [1])
    with pytest.raises(ValueError, match="give one of delete, random-label, neggrad"):
        mn.METHODS["synthetic-embeddings"](taught, access, rule="scrub")
    after = mn.METHODS["synthetic-embeddings"](taught, access).model
    for (name, old), new in zip(
        taught.state_dict().items(), after.state_dict().values(), strict=True
    ):
        assert torch.equal(old, new) == (not name.startswith("7."))
    scores = mn.evaluate(after, data, [1])
    assert scores.forgetting_error > 90
    assert scores.remaining_accuracy > 90


# UNSC


@pytest.mark.parametrize("n", [4, 40])  # fewer samples than features, and more
@pytest.mark.parametrize("energy", [0.6, 0.9, 0.999])
def test_directions_are_added_until_the_energy_is_explained(n, energy):
    a, b = torch.randn(9, n), torch.randn(9, n)
    first = with_more(None, a, energy)
    q = with_more(first, b, energy)
    assert torch.equal(q[:, : first.shape[1]], first)
    for columns, basis in ((a, first), (b, q)):
        explained = (basis.T @ columns).square().sum() / columns.square().sum()
        assert explained >= energy - 1e-5
    assert torch.allclose(q.T @ q, torch.eye(q.shape[1]), atol=1e-4)
    # One less would not do, and no others would do better.
    u = torch.linalg.svd(a)[0]
    r = first.shape[1]
    assert torch.allclose((u[:, :r].T @ first).abs().det(), torch.tensor(1.0)) or r == 9
    fewer = (first[:, :-1].T @ a).square().sum() / a.square().sum()
    assert fewer < energy
    assert with_more(q, b, energy) is q


def test_steps_of_unsc_are_not_felt_by_what_the_remaining_images_span(data, taught):
    """With all their energy kept: a network of more pixels than remaining images."""
    access = mn.Access(data, [1])
    how = {"energy": 1 - 1e-7, "learning_rate": 0.2}
    few = mn.METHODS["unsc"](taught, access, per_class=3, **how).model
    images = access.images("remaining", per_class=3, seed=0)
    x, other = images.inputs(images.train), of_class(data, [1])
    with torch.no_grad():
        assert torch.allclose(few(x), taught(x), atol=1e-2)
        moved = (few(other) - taught(other)).abs().max()
        answers = few(other).argmax(1)
    assert moved > 1
    assert (answers != 1).double().mean() > 0.5
    for name, old in taught.state_dict().items():
        if name not in ("0.weight", "5.weight", "7.weight"):
            assert torch.equal(old, few.state_dict()[name]), name


def test_unsc_takes_a_projected_step_to_the_runner_up(data):
    """One batch, a linear network: the gradient by hand."""
    model, access = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), mn.Access(data, [1])
    how = {"epochs": 1, "batch_size": 1000, "learning_rate": 0.5, "energy": 0.8}
    result = mn.METHODS["unsc"](model, access, **how)
    x = of_class(data, [1]).flatten(1)
    p = model[1](x).softmax(1).detach()
    aim = torch.where(p[:, 0] > p[:, 2], 0, 2)
    gradient = (p - torch.eye(3)[aim]).T @ x / len(x)
    q = None
    for k in (0, 2):
        q = with_more(q, of_class(data, [k]).flatten(1).T, 0.8)
    step = 0.5 * (gradient - gradient @ q @ q.T)
    assert 0 < q.shape[1] < 36
    assert torch.allclose(model[1].weight - step, result.model[1].weight, atol=1e-5)
    assert torch.equal(model[1].bias, result.model[1].bias)


# ZS-PAG


def test_targeted_attacks_go_down_the_loss_within_the_bound(data, taught):
    inputs = data.inputs(data.test)[:12]
    targets = (data.test.labels[:12] + 1) % 3
    how = {"bound": 0.2, "step": 0.05, "steps": 3}
    found = towards(taught, data, inputs, targets, **how)
    mean, std = data.mean[:, None, None], data.std[:, None, None]
    x = start = inputs * std + mean
    for _ in range(3):
        x = x.detach().requires_grad_(True)
        loss = functional.cross_entropy(taught((x - mean) / std), targets)
        sign = torch.autograd.grad(loss, x)[0].sign()
        low, high = (start - 0.2).clamp(min=0), (start + 0.2).clamp(max=1)
        x = torch.minimum(torch.maximum(x - 0.05 * sign, low), high)
    assert torch.allclose(found * std + mean, x, atol=1e-5)
    before, after = (
        functional.cross_entropy(taught(i), targets) for i in (inputs, found)
    )
    assert after < before - 0.5
    assert not taught.training


def test_proxies_are_taken_for_their_class_and_come_from_forget_images(data, taught):
    images = mn.Access(data, [1]).images("forget")
    found = proxies(taught, images, 20, [0, 2])
    assert set(found) <= {0, 2}
    assert found
    start = data.inputs(images.train)[:20] * data.std + data.mean
    for k, x in found.items():
        assert (taught(x).argmax(1) == k).all()
        pixels = x * data.std + data.mean
        near = (pixels[:, None] - start[None]).abs().flatten(2).amax(2).amin(1)
        assert near.max() < 0.3 + 1e-5
        assert pixels.min() > -1e-5
        assert pixels.max() < 1 + 1e-5
    assert images.counts.visits == {"codes": 0, "forget": 20, "remaining": 0}


def test_slopes_are_derivatives_along_the_dampened_gradient(data, taught):
    images = mn.Access(data, [1]).images("forget")
    stand_ins = {0: torch.rand(3, 1, 6, 6), 2: torch.rand(2, 1, 6, 6)}
    found = slopes(taught, stand_ins, images)
    inputs = torch.cat([*stand_ins.values()])
    labels, weights = torch.tensor([0, 0, 0, 2, 2]), trainable(taught)
    each = [
        torch.autograd.grad(
            functional.cross_entropy(taught(x[None]), y[None]), [*weights.values()]
        )
        for x, y in zip(inputs, labels, strict=True)
    ]
    g = [torch.stack(parts).mean(0) for parts in zip(*each, strict=True)]
    f = [torch.stack(parts).square().mean(0) for parts in zip(*each, strict=True)]
    mean = torch.cat([v.flatten() for v in f]).mean()
    model = copy.deepcopy(taught).double()
    x = data.inputs(images.train).double()
    moved = []
    for sign in (1, -1):
        at = {
            n: w.detach().double() + sign * 1e-5 * (a / (b + mean)).double()
            for (n, w), a, b in zip(weights.items(), g, f, strict=True)
        }
        moved.append(run_with(model, at, x).detach())
    slope = (moved[0] - moved[1]) / 2e-5
    scale = slope.abs().max()
    assert torch.allclose(found.double() / scale, slope / scale, atol=1e-3)


def test_zs_pag_reads_nothing_that_remains_and_keeps_its_proxies(data, taught):
    access = mn.Access(data, [1])
    how = {"energy": 1 - 1e-7, "n_images": 3, "learning_rate": 0.02}
    result = mn.METHODS["zs-pag"](taught, access, **how)
    assert result.counts.images == {"codes": 0, "forget": 36, "remaining": 0}
    stand_ins = proxies(taught, access.images("forget"), 3, [0, 2])
    for x in stand_ins.values():
        assert torch.allclose(result.model(x), taught(x), atol=1e-2)
    used = used_by(taught, [[(x, None)] for x in stand_ins.values()], 0.9, None)
    assert set(used) == {"0", "5", "7"}


def test_a_network_that_no_attack_leads_astray_is_said_so(data):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with torch.no_grad():
        model[1].bias[1] = 1e4
    with pytest.raises(ValueError, match=r"no attack within .* another class"):
        mn.METHODS["zs-pag"](model, mn.Access(data, [1]))


# All of them


RIVALS = (
    "damp",
    "damp-codes",
    "esc",
    "pour-p",
    "synthetic-embeddings",
    "unsc",
    "zs-pag",
)


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_say_what_they_are_and_whose(name):
    method = mn.METHODS[name]
    assert method.cites
    assert len(method.space) in (1, 2)
    assert set(method.space) <= set(method.defaults)


@pytest.mark.parametrize("classes", [[1], [0, 2]])
@pytest.mark.parametrize("name", RIVALS)
def test_rivals_forget_a_class_that_stands_apart(data, codes, taught, name, classes):
    access = mn.Access(data, classes, codes=codes)
    how = {"unsc": {"learning_rate": 0.1, "energy": 0.9}, "esc": {"share": 0.2}}
    how["zs-pag"] = how["unsc"] | {"n_images": 10}
    how = how.get(name, {})
    model = mn.METHODS[name](taught, access, **how).model
    before, after = (mn.evaluate(m, data, classes) for m in (taught, model))
    if name != "damp-codes":  # it was not trained with these codes
        assert after.forgetting_error > before.forgetting_error + 30
    assert math.isfinite(after.remaining_accuracy)
