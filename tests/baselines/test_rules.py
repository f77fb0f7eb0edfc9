"""The rules of METHODS.md, each against a second calculation on tiny inputs.

What the formulas share with the package is the order of its random draws only.
"""

import copy
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.baselines import subspaces
from mnemonic.baselines.distances import kl
from mnemonic.baselines.erm_ktp import Masked
from mnemonic.baselines.fastmu import hostile_noise
from mnemonic.baselines.lwsf import CosineLinear, am_softmax
from mnemonic.baselines.ntk import jacobian, shift, step_scale
from mnemonic.baselines.sfdn import expected_fisher
from mnemonic.baselines.sisa import Shards
from mnemonic.baselines.ssd import importance
from mnemonic.baselines.subspaces import MAX_COLUMNS, layer_inputs
from mnemonic.baselines.svd import projection
from mnemonic.baselines.zero_shot import Generator, attention_maps
from mnemonic.data.splits import ArraySplit
from mnemonic.networks.layers import last_layer, watched
from mnemonic.storage import generator_for


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Spy(nn.Sequential):
    """Remembers its inputs, and the gradient that came back to its logits.

    The gradient of a cross-entropy is p - onehot: negative at the label alone.
    """

    def __init__(self, *layers):
        super().__init__(*layers)
        self.seen = []

    def forward(self, inputs):
        logits = super().forward(inputs)
        entry = SimpleNamespace(
            training=self.training,
            grad_enabled=torch.is_grad_enabled(),
            inputs=inputs.detach().cpu().clone(),
            gradient=None,
        )
        self.seen.append(entry)
        if logits.requires_grad:
            logits.register_hook(lambda g: setattr(entry, "gradient", g.cpu().clone()))
        return logits

    def batches(self, training=True):
        """Inputs and gradients of the forwards in training (evaluation) mode."""
        return [
            (e.inputs, e.gradient)
            for e in self.seen
            if e.training == training and e.grad_enabled
        ]


def linear(seed=0, scale=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Spy(nn.Flatten(), nn.Linear(36, 3))
    with torch.no_grad():
        model[1].weight *= scale
    return model


def convolutional(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Spy(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )


def as_data(images, labels, k):
    """Data whose network inputs are the images themselves."""
    split = ArraySplit(images, labels)
    channels = images.shape[1]
    return mn.ImageData(
        "raw", tuple("abcdefgh"[:k]), split, split, split,
        torch.zeros(channels), torch.ones(channels),
    )  # fmt: skip


def where_in(pool, batch):
    """Row of ``pool`` that each row of ``batch`` equals; -1 where there is none."""
    equal = (batch[:, None] == pool[None]).flatten(2).all(2)
    return [row.nonzero()[0].item() if row.any() else -1 for row in equal]


def everything(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def same_networks(a, b):
    assert list(a.state_dict()) == list(b.state_dict())
    for name, value in a.state_dict().items():
        assert torch.equal(value.cpu(), b.state_dict()[name].cpu()), name


# FastMU


@pytest.mark.parametrize(
    ("toward", "norm_weight"), [(False, 0.1), (False, 2.0), (True, 0.0)]
)
def test_hostile_noise_is_two_steps_of_adam(toward, norm_weight):
    model, shape, c = linear(scale=3.0).eval(), (4, 1, 6, 6), 2
    noise = hostile_noise(
        model, c, shape, 2, generator_for("x", 0), toward=toward,
        norm_weight=norm_weight,
    )  # fmt: skip
    z = torch.randn(shape, generator=generator_for("x", 0)).flatten(1).double()
    w, b = model[1].weight.detach().double(), model[1].bias.detach().double()
    m = v = torch.zeros_like(z)
    for t in (1, 2):
        residual = (z @ w.T + b).softmax(1)
        residual[:, c] -= 1
        fit = residual @ w / 4
        g = (fit if toward else -fit) + norm_weight * 2 * z / 4
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        z = z - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    assert torch.allclose(noise.flatten(1).double(), z, atol=1e-5)


@pytest.mark.parametrize("classes", [[2], [0, 2]])
def test_fastmu_labels_the_noise_of_each_class_with_that_class(data, classes):
    """Per class n_noise × copies of them: not a batch of C, not one label for all."""
    access = mn.Access(data, classes)
    result = mn.METHODS["fastmu"](
        linear(), access, n_noise=5, copies=8, steps=0, batch_size=16
    )
    generator = generator_for("fastmu", 0)  # with no steps the noise is its N(0, 1)
    noise = torch.cat([torch.randn((5, 1, 6, 6), generator=generator) for _ in classes])
    pool, labels = data.inputs(data.train), data.train.labels
    real, made = [], []
    for inputs, gradient in result.model.batches():
        for i, n, g in zip(
            where_in(pool, inputs), where_in(noise, inputs), gradient, strict=True
        ):
            assert (i < 0) != (n < 0)
            name = labels[i].item() if n < 0 else classes[n // 5]
            assert (g < 0).nonzero().tolist() == [[name]]
            if n < 0:
                real.append(i)
            else:
                made.append(name)
    expected = 40 * len(classes)
    assert expected <= len(made) <= expected * 1.1
    for c in classes:  # drawn, so about 40 each
        assert 28 <= made.count(c) <= 52
    kept = [i for i in range(len(pool)) if labels[i] not in classes]
    assert sorted(real) == sorted(kept * 2)  # impaired and repaired with all of them
    assert result.counts.images == {"codes": 0, "forget": 0, "remaining": len(kept)}


def test_fastmu_impairs_and_repairs_with_the_same_few_images(data):
    result = mn.METHODS["fastmu"](
        linear(), mn.Access(data, [1]), per_class=4, n_noise=2, copies=1, steps=0
    )
    (first, _), (second, _) = result.model.batches()  # two epochs of one batch
    pool = data.inputs(data.train)
    real = sorted(i for i in where_in(pool, first) if i >= 0)
    assert len(first) == 8 + 2
    assert len(real) == 8
    assert sorted(where_in(pool, second)) == real
    assert result.counts.images["remaining"] == 8


@pytest.mark.parametrize(("impair_rate", "repair_rate"), [(0.03, 0.0), (0.0, 0.07)])
def test_fastmu_steps_at_its_two_rates(data, impair_rate, repair_rate):
    model = linear()
    result = mn.METHODS["fastmu"](
        model, mn.Access(data, [1]), n_noise=2, copies=1, steps=0,
        impair_rate=impair_rate, repair_rate=repair_rate,
    )  # fmt: skip
    # one batch a phase: Adam's first step is its rate, whatever the gradient
    step = (everything(result.model) - everything(model)).abs()
    assert step.median() == pytest.approx(impair_rate + repair_rate, rel=1e-2)


# Zero-shot methods


@pytest.mark.parametrize("ascend", [False, True])
@pytest.mark.parametrize("classes", [[1], [0, 2]])
def test_error_min_max_runs_to_kept_and_from_forgotten_classes(data, classes, ascend):
    model = linear()
    result = mn.METHODS["error-min-max"](
        model, mn.Access(data, classes), n_noise=2, repeats=5, epochs=2, batch_size=7,
        ascend=ascend,
    )  # fmt: skip
    # While images are made the gradient at the logits tells class and direction.
    steps = dict.fromkeys(itertools.product(range(3), (True, False)), 0)
    for _, gradient in result.model.batches(training=False):
        signs = gradient.sign()
        toward = signs[0].sum().item() == 1  # p - onehot: one below 0, two above
        alone = (signs[0] < 0) if toward else (signs[0] > 0)
        assert (signs == signs[0]).all()
        steps[alone.nonzero().item(), toward] += 1
    for k in range(3):
        forgets = k in classes
        assert steps[k, True] == (0 if forgets else 30)
        assert steps[k, False] == (25 if forgets else 0)

    generator, made = generator_for("error-min-max", 0), []
    for k in range(3):
        how = {} if k in classes else {"toward": True, "norm_weight": 0.0}
        shape, n = (2, 1, 6, 6), 25 if k in classes else 30
        made.append(hostile_noise(model.eval(), k, shape, n, generator, **how))
    pool, taken = torch.cat(made), []
    for inputs, gradient in result.model.batches():
        found = where_in(pool, inputs)
        assert -1 not in found
        for i, g in zip(found, gradient, strict=True):  # anti-samples are labelled c
            sign = -1 if ascend and i // 2 in classes else 1
            assert (sign * g < 0).nonzero().tolist() == [[i // 2]]
        taken += found
    assert sorted(taken) == sorted(list(range(6)) * 5 * 2)
    assert sum(result.counts.images.values()) == 0


def run_gkt(data, classes=(1,), make=linear, **settings):
    """A run with its teacher, a fresh copy of its student, and what it was shown."""
    teacher, seeds = make(0), []

    def build(seed):
        seeds.append(seed)
        return make(seed)

    settings = {"cycles": 1, "student_steps": 2, "batch_size": 24, **settings}
    result = mn.METHODS["gkt"](
        teacher, mn.Access(data, classes, build=build), **settings
    )
    (seed,) = seeds
    return result.model, teacher, make(seed), seed


@pytest.mark.parametrize("classes", [(1,), (0, 2)])
def test_gkt_drops_images_of_the_forget_classes(data, classes):
    gate = 0.35
    student, teacher, _, seed = run_gkt(
        data, classes, gate=gate, cycles=3, attention=0.0
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        maker = Generator((1, 6, 6))
    noise = torch.randn((24, 128), generator=generator_for("gkt", 0))
    images = maker(noise).detach()
    p = teacher(images).softmax(1)
    kept = [i for i in range(24) if all(p[i, c] <= gate for c in classes)]
    assert 2 <= len(kept) < 24
    shown = [entry.inputs for entry in student.seen]
    assert torch.equal(shown[0], images[kept])
    assert len(shown) == 3 * (1 + 2)
    for inputs in shown:
        p = teacher(inputs).softmax(1)[:, list(classes)]
        assert 2 <= len(inputs) < 24
        assert (p <= gate + 1e-6).all()
    assert torch.equal(shown[1], shown[2])  # the same z for a cycle
    assert not torch.equal(shown[4][:2], shown[1][:2])


def test_gkt_goes_up_and_down_kl_of_teacher_to_student(data):
    """d KL(T || S) / d logits of S is p_S - p_T; the mean is over N × K elements."""
    student, teacher, fresh, _ = run_gkt(data, gate=1.0, attention=0.0)
    for entry, sign in zip(student.seen[:2], (-1, 1), strict=True):
        p_t, p_s = (m(entry.inputs).softmax(1) for m in (teacher, fresh))
        expected = sign * (p_s - p_t) / p_s.numel()
        assert torch.allclose(entry.gradient, expected, atol=1e-7)
        assert entry.gradient.abs().max() > 1e-4


def test_kl_takes_the_expectation_under_the_teacher():
    teacher, student = torch.tensor([[3.0, 1.0, -2.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    for t in (1.0, 2.0):
        a = [math.exp(v / t) for v in teacher[0].tolist()]
        b = [math.exp(v / t) for v in student[0].tolist()]
        a, b = [v / sum(a) for v in a], [v / sum(b) for v in b]
        expected = sum(p * math.log(p / q) for p, q in zip(a, b, strict=True))
        assert kl(teacher, student, t).tolist() == pytest.approx([expected])


def test_gkt_student_starts_from_fresh_weights(data):
    student, teacher, fresh, _ = run_gkt(data, learning_rate=0.0)
    same_networks(student, fresh)
    assert not torch.equal(student[1].weight, teacher[1].weight)


def test_attention_maps_are_normalised_mean_squares():
    net, x = convolutional(), torch.rand(2, 1, 6, 6)
    logits, maps = attention_maps(net, x)
    first, second = maps  # of convolution and ReLU; not of the 1 × 1 pool
    for found, layer in ((first, net[:1]), (second, net[:2])):
        output = nn.Sequential(*layer)(x).tolist()
        for n in range(2):
            a = [
                sum(output[n][c][i][j] ** 2 for c in range(4)) / 4
                for i in range(4)
                for j in range(4)
            ]
            norm = math.sqrt(sum(v**2 for v in a))
            assert found[n].tolist() == pytest.approx([v / norm for v in a])
    assert torch.equal(logits, net(x))
    assert len(maps) == 2  # nobody looks any more


@pytest.mark.parametrize("weight", [0.0, 1.0, 250.0])
def test_gkt_student_descends_on_kl_and_attention_clipped_at_5(data, weight):
    student, teacher, fresh, _ = run_gkt(
        data, make=convolutional, gate=1.0, attention=weight, student_steps=1
    )
    images = student.seen[1].inputs
    pairs = []
    for net in (teacher, fresh):
        conv = net[0](images)
        maps = [m.square().mean(1).flatten(1) for m in (conv, conv.relu())]
        pairs.append([m / m.norm(dim=1, keepdim=True) for m in maps])
    apart = sum(((t - s) ** 2).mean() for t, s in zip(*pairs, strict=True))
    p_t, p_s = (net(images).softmax(1) for net in (teacher, fresh))
    loss = (p_t * (p_t / p_s).log()).mean() + weight * apart
    gradients = torch.autograd.grad(loss, list(fresh.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    assert (norm > 5) == (weight == 250)
    for p, g in zip(student.parameters(), gradients, strict=True):
        assert torch.allclose(p.grad, g * min(1, 5 / norm), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 7, 5), (3, 9, 30)])
def test_generator_gives_the_shape_of_the_inputs(shape):
    assert Generator(shape)(torch.randn(2, 128)).shape == (2, *shape)


# LwSF


def test_am_softmax_lowers_the_true_cosine_by_the_margin():
    features, rows = torch.randn(2, 4).tolist(), torch.randn(3, 4).tolist()
    layer = CosineLinear(4, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    labels, total = [2, 0], 0.0
    logits = layer(torch.tensor(features))

    def cosine(a, b):
        dot = sum(u * v for u, v in zip(a, b, strict=True))
        return dot / math.sqrt(sum(u * u for u in a) * sum(v * v for v in b))

    for f, y in zip(features, labels, strict=True):
        s = [30 * (cosine(f, r) - 0.35 * (k == y)) for k, r in enumerate(rows)]
        total += math.log(sum(math.exp(v) for v in s)) - s[y]
    loss = am_softmax(logits, torch.tensor(labels)).item()
    assert loss == pytest.approx(total / 2, rel=1e-4)


@pytest.mark.parametrize("classes", [[1], [0, 2]])
def test_lwsf_takes_two_steps_of_its_objective(data, codes, classes):
    """By hand for a linear network; Fisher and old answers matter from step two on."""
    model, rate, keep, push, elastic = linear(), 0.05, 10.0, 5.0, 100.0
    access = mn.Access(data, classes, codes=codes)
    result = mn.METHODS["lwsf"](
        model, access, learning_rate=rate, steps=2, keep=keep, push=push,
        elastic=elastic,
    )  # fmt: skip
    x = ((codes.images - data.mean[:, None, None]) / data.std[:, None, None]).flatten(1)
    assert torch.equal(result.model.seen[0].inputs.flatten(1), x)
    x = torch.cat([x, torch.ones(3, 1)], 1).double()  # the last column is the bias
    start = torch.cat([model[1].weight, model[1].bias[:, None]], 1).detach().double()
    kept = [c for c in range(3) if c not in classes]
    onehot = torch.eye(3, dtype=torch.float64)
    fisher = torch.zeros_like(start)
    for c in kept:  # not the codes of the classes to forget
        g = torch.outer((start @ x[c]).softmax(0) - onehot[c], x[c])
        fisher += g**2 / len(kept)
    old, w, velocity, t = x @ start.T, start, 0.0, 30 * 2.0
    for _ in range(2):
        logits = x @ w.T
        g = elastic * fisher * (w - start)
        for c in kept:
            lowered = logits[c] - 30 * 0.35 * onehot[c]
            slope = (lowered.softmax(0) - onehot[c]) / len(kept)
            g = g + keep * torch.outer(slope, x[c])
        is_kept = torch.tensor([c in kept for c in range(3)])
        for c in range(3):  # KL over T: (b - a) / T at the logits that are not masked
            a = (old[c] * is_kept / t).softmax(0)
            b = (logits[c] * is_kept / t).softmax(0)
            held = (b - a) / t * is_kept
            b = (logits[c] * ~is_kept / t).softmax(0)
            flat = (b - 1 / 3) / t * ~is_kept
            g = g + push * t**2 / 3 * torch.outer(held + flat, x[c])
        velocity = 0.9 * velocity + g + 5e-4 * w
        w = w - rate * velocity
    assert torch.allclose(result.model[1].weight.double(), w[:, :-1], atol=1e-4)
    assert torch.allclose(result.model[1].bias.double(), w[:, -1], atol=1e-4)
    assert result.counts.images == {"codes": 3, "forget": 0, "remaining": 0}


def test_lwsf_trains_on_images_and_on_their_mixtures_with_codes(data, codes):
    recipe = mn.Recipe(epochs=1, batch_size=40)
    access = mn.Access(data, [0], codes=codes, build=linear, recipe=recipe)
    model = mn.METHODS["lwsf"].prepare(access)
    assert isinstance(model[1], CosineLinear)
    pool, labels = data.inputs(data.train), data.train.labels
    xi = (codes.images - data.mean[:, None, None]) / data.std[:, None, None]
    taken, shares = [], []
    steps = model.batches()
    for (raw, g_raw), (mixed, g_mixed) in zip(steps[::2], steps[1::2], strict=True):
        found = where_in(pool, raw)
        y = labels[found]
        for g in (g_raw, g_mixed):
            assert torch.equal(g.argmin(1), y)
        towards = (raw - xi[y]).flatten(1)
        share = ((mixed - xi[y]).flatten(1) * towards).sum(1) / towards.square().sum(1)
        again = share[:, None, None, None] * (raw - xi[y]) + xi[y]
        assert torch.allclose(mixed, again, atol=1e-5)
        taken += found
        shares += share.tolist()
    assert sorted(taken) == list(range(len(pool)))
    assert -1e-5 <= min(shares) < 0.05  # U(0, 1) a sample
    assert 0.95 < max(shares) <= 1 + 1e-5
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.1)


# SFDN


def test_expected_fisher_by_loops(data, tiny):
    images = mn.Access(data, [0]).images("remaining", per_class=3)
    fisher = expected_fisher(tiny, images)
    weights = dict(tiny.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    for x in images.inputs(images.train):
        p = tiny(x[None]).softmax(1)[0].detach()
        for y in range(3):
            loss = functional.cross_entropy(tiny(x[None]), torch.tensor([y]))
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for name, g in zip(weights, gradients, strict=True):
                total[name] += p[y] * g**2
    for name, value in fisher.items():
        assert torch.allclose(value, total[name] / 6, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("classes", [[1], [0, 2]])
def test_sfdn_noise_follows_the_variance_rules(data, classes):
    """Three layers have K = 3 rows, and one of them is the last layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3, stride=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(12, 3),
            nn.Tanh(),
            nn.Linear(3, 3),
        )
    with torch.no_grad():
        model[5].weight.mul_(5)
        model[5].weight[:, 0] = 1e-2  # so that the caps bind below it
    access = mn.Access(data, classes)
    alpha = 1e-4
    result = mn.METHODS["sfdn"](model, access, alpha=alpha)
    fisher = expected_fisher(model, access.images("remaining"))
    for cap, name in ((1e3, "0.weight"), (1e3, "3.weight"), (1e2, "5.weight")):
        beyond = 1 / fisher[name] > cap
        assert name == "0.weight" or (beyond.any() and not beyond.all())
    generator = generator_for("sfdn", 0)
    moved = dict(result.model.named_parameters())
    for name, p in model.named_parameters():
        mu, v = p.detach().clone(), torch.empty_like(p)
        cap = 1e2 if name in ("5.weight", "5.bias") else 1e3
        for i in itertools.product(*map(range, p.shape)):
            v[i] = alpha * min(1 / (fisher[name][i].item() + 1e-8), cap)
        if p.ndim > 1:  # its mean over the second dimension
            mean = sum(v[:, j] for j in range(p.shape[1])) / p.shape[1]
            for j in range(p.shape[1]):
                v[:, j] = mean
        if cap == 1e2:
            for c in classes:
                mu[c], v[c] = 0, 1e-4
        if cap == 1e2 or p.ndim == 1:
            v = 10 * v
        expected = mu + v.sqrt() * torch.randn(p.shape, generator=generator)
        assert torch.allclose(moved[name], expected, atol=1e-5), name
    assert result.counts.images["forget"] == 0


# NTK


def by_ridge(x, labels, model, ridge):
    """-(G Gᵀ + n λ I)⁻¹ G r over the weights of a linear network, float64."""
    x = torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1).double()
    w = torch.cat([model[1].weight, model[1].bias[:, None]], 1).detach().double()
    k, p = 3, w.numel()
    left, right = torch.zeros(p, p, dtype=torch.float64), torch.zeros(p).double()
    for features, label in zip(x, labels, strict=True):
        residual = (w @ features).softmax(0)
        residual[label] -= 1
        for y in range(k):
            row = torch.zeros(k, x.shape[1], dtype=torch.float64)
            row[y] = features
            # weights first, then biases, as parameters() goes through them
            row = torch.cat([row[:, :-1].flatten(), row[:, -1]])
            left += torch.outer(row, row)
            right += residual[y] * row
    eye = torch.eye(p, dtype=torch.float64)
    return -torch.linalg.solve(left + len(x) * ridge * eye, right)


@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_ntk_shift_is_the_dense_ridge_solution(data, ridge):
    model = linear()
    images = mn.Access(data, [1]).images("forget", "remaining", per_class=2)
    found = shift(*jacobian(model, images), ridge, len(images.train))
    x, labels = images.inputs(images.train), images.train.labels
    expected = by_ridge(x, labels, model, ridge)
    assert torch.allclose(found.double(), expected, atol=1e-5)
    assert expected.abs().max() > 1e-2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ((3.0, 4.0), 1 + 2 * 5 / 2 * 0.6),
        ((-3.0, 4.0), 1 + 2 * 5 / 2 * math.sin(math.acos(-0.6) - math.pi / 2)),
        ((-5.0, 0.0), 1 + 2 * 5 / 2 * math.sin(math.pi / 2)),
        ((0.0, 5.0), 1.0),
    ],
)
def test_ntk_scale_for_acute_and_obtuse_angles(error, expected):
    scale = step_scale(torch.tensor([2.0, 0.0]), torch.tensor(error))
    assert scale == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("classes", [[1], [0, 2]])
def test_ntk_steps_from_the_solution_on_all_to_that_on_the_rest(data, classes):
    model, first = linear(), linear(seed=7)
    access = mn.Access(data, classes, build=linear, built_with=7)
    images = access.images("forget", "remaining", per_class=2)
    x, labels = images.inputs(images.train), images.train.labels
    rest = torch.tensor([y not in classes for y in labels.tolist()])
    on_rest = by_ridge(x[rest], labels[rest], model, 0.1)
    delta = on_rest - by_ridge(x, labels, model, 0.1)
    start = everything(model).double()
    e = start - everything(first).double() - on_rest
    cosine = delta @ e / (delta.norm() * e.norm())
    scale = 1 + 2 * e.norm() / delta.norm() * cosine.abs()  # sin(φ - π/2) = -cos φ
    result = mn.METHODS["ntk-f"](model, access, per_class=2)
    expected = start + scale * delta
    assert torch.allclose(everything(result.model).double(), expected, atol=1e-4)
    assert (scale - 1).abs() > 0.1


def test_ntk_refuses_what_does_not_fit_into_memory(data):
    access = mn.Access(data, [1], build=linear, built_with=7)
    with pytest.raises(ValueError, match="more than 4 GiB; give a smaller per_class"):
        mn.METHODS["ntk-f"](linear(), access, per_class=2 * 10**6)


# SSD


def mean_gradient(model, x, labels):
    """Of the mean cross-entropy of a linear network: weights, biases."""
    slope = model(x).softmax(1).detach() - functional.one_hot(labels, 3)
    return slope.T @ x.flatten(1) / len(x), slope.mean(0)


def test_ssd_importance_squares_the_mean_gradient_of_a_batch(data):
    model = linear()
    images = mn.Access(data, [1]).images("forget", "remaining")
    found = importance(model, images, 50, generator_for("x", 0))
    weight = bias = 0.0
    order = torch.randperm(108, generator=generator_for("x", 0))
    for part in (order[:50], order[50:100], order[100:]):  # the last counts as one
        x, labels = images.inputs(images.train, part), images.train.labels[part]
        g_weight, g_bias = mean_gradient(model, x, labels)
        weight, bias = weight + g_weight**2 / 3, bias + g_bias**2 / 3
    assert torch.allclose(found["1.weight"], weight, rtol=1e-3, atol=1e-9)
    assert torch.allclose(found["1.bias"], bias, rtol=1e-3, atol=1e-9)
    x, labels = images.inputs(images.train), images.train.labels
    fisher = mn.diagonal_fisher(model, x, labels)  # another quantity
    assert (fisher["1.bias"] > 3 * found["1.bias"]).all()


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize(("alpha", "dampening"), [(1.5, 0.5), (1.0, 4.0)])
def test_ssd_dampens_what_matters_more_to_the_forget_class(
    data, alpha, dampening, per_sample
):
    """Per sample by ``diagonal_fisher``, else by hand with a batch for each set."""
    model, access = linear(), mn.Access(data, [1])
    result = mn.METHODS["ssd"](
        model, access, alpha=alpha, dampening=dampening, per_sample=per_sample,
        batch_size=1000,
    )  # fmt: skip
    both = []
    for kinds in (("forget",), ("forget", "remaining")):
        images = access.images(*kinds)
        x, labels = images.inputs(images.train), images.train.labels
        if per_sample:
            both.append(list(mn.diagonal_fisher(model, x, labels).values()))
        else:
            both.append([g**2 for g in mean_gradient(model, x, labels)])
    cases = set()
    for p, new, i_f, i_d in zip(
        model.parameters(), result.model.parameters(), *both, strict=True
    ):
        for i in itertools.product(*map(range, p.shape)):
            ratio = 1.0
            if i_f[i] > alpha * i_d[i]:
                ratio = min(dampening * i_d[i].item() / i_f[i].item(), 1)
                cases.add("cut" if ratio < 1 else "capped")
            else:
                cases.add("left")
            assert new[i].item() == pytest.approx(ratio * p[i].item(), rel=1e-3)
    # with a large λ the ratio would grow the weight
    expected = {"cut", "left"} | ({"capped"} if dampening > 1 else set())
    assert cases >= expected if not per_sample else "left" in cases


# ERM-KTP


def masked(seed=0):
    """A masked network; channel 0 is of class 0 alone, channel 3 of none but 1."""
    network = convolutional(seed)
    model = Masked(network, "4", 4, 3)
    with torch.no_grad():
        model.mask.copy_(
            torch.tensor([[1.0, 0, 0], [0, 0.3, 1], [0.5, 0, 1], [0, 1, 0]])
        )
    return model


def test_mask_multiplies_the_features_by_the_column_of_the_true_class():
    model, x, labels = masked(), torch.rand(5, 1, 6, 6), [0, 2, 1, 1, 0]
    found = model.masked(x, torch.tensor(labels)).tolist()
    features = model.network[:4](x)
    w, b = model.network[4].weight, model.network[4].bias
    for n, y in enumerate(labels):
        for k in range(3):
            z = sum(w[k, d] * features[n, d] * model.mask[d, y] for d in range(4))
            assert found[n][k] == pytest.approx((z + b[k]).item(), abs=1e-6)
    assert torch.equal(model(x), model.network(x))  # and the hook is gone


@pytest.mark.parametrize("factor", [1.0, -2.0, 0.01])
def test_mask_penalty_by_loops(factor):
    model = masked()
    with torch.no_grad():
        model.mask *= factor
    m = model.mask.tolist()
    size = max(sum(abs(v) for row in m for v in row) - 0.1 * 12, 0)
    overlap = sum(
        sum(m[d][i] * m[d][j] for d in range(4)) for i in range(3) for j in range(i)
    )
    assert model.penalty().item() == pytest.approx(size + 0.1 * overlap, rel=1e-5)


def test_mask_is_clipped_after_scaling_each_channel():
    model = masked()
    with torch.no_grad():
        model.mask[0] = torch.tensor([0.2, -0.1, 0.4])
        model.mask[1] = torch.tensor([3.0, 1.5, 0.0])
    model.clip()
    expected = torch.tensor([[0.5, 0, 1], [1, 0.5, 0], [0.5, 0, 1], [0, 1, 0]])
    assert torch.allclose(model.mask, expected)


def test_erm_ktp_trains_its_mask_in_every_third_epoch(data):
    """One batch an epoch; the mask has a rate of its own, on the recipe's schedule."""
    recipe = mn.Recipe(epochs=4, batch_size=1000, learning_rate=0.5, schedule="cosine")
    access = mn.Access(data, [0], build=convolutional, recipe=recipe)
    model = mn.METHODS["erm-ktp"].prepare(access, seed=5).cpu()
    net, mask = convolutional(5), torch.full((4, 3), 0.5, requires_grad=True)
    optimizer = torch.optim.SGD(
        [{"params": net.parameters()}, {"params": [mask]}],
        momentum=0.9,
        weight_decay=5e-4,
    )
    x, y = data.inputs(data.train), data.train.labels
    for epoch in range(4):
        for group, rate in zip(optimizer.param_groups, (0.5, 0.1), strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * epoch / 4)) / 2
        features, extra = net[:4](x), 0.0
        if epoch == 2:
            features = features * torch.stack([mask[:, c] for c in y])
            overlap = sum(mask[:, i] @ mask[:, j] for i, j in ((0, 1), (0, 2), (1, 2)))
            extra = 1e-3 * ((mask.abs().sum() - 1.2).clamp_min(0) + 0.1 * overlap)
        optimizer.zero_grad()
        (functional.cross_entropy(net[4](features), y) + extra).backward()
        optimizer.step()
        with torch.no_grad():
            mask.copy_((mask / mask.max(1, keepdim=True).values).clamp(0, 1))
    assert torch.allclose(model.mask, mask, atol=1e-5)
    assert torch.allclose(everything(model.network), everything(net), atol=1e-5)
    assert (mask < 1).any()  # it moved


@pytest.mark.parametrize(
    ("classes", "gate", "epochs"),
    [([0], [0, 1, 0, 1], 1), ([1], [1, 0, 1, 0], 22), ([0, 1], [0] * 4, 1)],
)
def test_erm_ktp_teaches_a_fresh_network_behind_a_frozen_gated_layer(
    data, classes, gate, epochs
):
    """Steps by hand, one an epoch; the rate falls after 10 and after 20 epochs."""
    model, seeds = masked(), []

    def build(seed):
        seeds.append(seed)
        return convolutional(seed)

    access = mn.Access(data, classes, build=build)
    result = mn.METHODS["erm-ktp"](
        model, access, learning_rate=0.3, epochs=epochs, batch_size=1000
    )
    gate = torch.tensor(gate, dtype=torch.float32)
    old, new = model.network, result.model
    for k in range(3):
        row, bias = old[4].weight[k] * gate, old[4].bias[k]
        if k in classes:
            row, bias = torch.zeros(4), torch.zeros(())
        assert torch.equal(new[4].weight[k], row)
        assert torch.equal(new[4].bias[k], bias)
    student, kept = convolutional(seeds[0]), access.images("remaining")
    start = copy.deepcopy(student)
    x = kept.inputs(kept.train)
    h_t = old[:2](x).detach()
    velocity = [0.0, 0.0]
    for epoch in range(epochs):
        h_s = student[:2](x)
        pooled = ((h_s.mean((2, 3)) - h_t.mean((2, 3)) * gate) ** 2).mean()
        weights = list(student[0].parameters())
        gradients = torch.autograd.grad(((h_s - h_t) ** 2).mean() + pooled, weights)
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        rate = 0.3 * 0.1 ** ((epoch >= 10) + (epoch >= 20))
        with torch.no_grad():
            for p, v in zip(weights, velocity, strict=True):
                p -= rate * v
    assert torch.allclose(everything(new[0]), everything(student[0]), atol=1e-5)
    assert not torch.allclose(everything(new[0]), everything(start[0]), atol=1e-3)
    assert result.counts.images["forget"] == 0


@pytest.mark.parametrize("name", ["erm-ktp", "sisa"])
def test_methods_with_training_of_their_own_refuse_other_networks(data, name):
    access = mn.Access(data, [0], build=linear, recipe=mn.Recipe(epochs=1))
    with pytest.raises(ValueError, match=rf'Spy has none; train with METHODS."{name}"'):
        mn.METHODS[name](linear(), access)


# Activation subspaces


@pytest.mark.parametrize(
    "conv",
    [
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "stride": (1, 2), "padding": 1},
        {"kernel_size": 2, "dilation": 2},
        {"kernel_size": (3, 2), "padding": "same", "dilation": (1, 2)},
        {"kernel_size": (4, 3), "padding": "valid"},
        {"kernel_size": 3, "padding": (2, 1), "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": "same", "padding_mode": "circular"},
    ],
)
def test_inputs_of_a_convolution_are_its_patches(conv):
    images = torch.rand(3, 3, 6, 7)
    data = as_data(images, torch.tensor([0, 1, 1]), 2)
    layer = nn.Conv2d(3, 4, bias=False, **conv)
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    handed = mn.Access(data, [0]).images("forget", "remaining")
    found = layer_inputs(model, handed.in_order(256, "cpu"), generator_for("x", 0))
    assert list(found) == ["0", "3"]
    output = layer(images)
    (h, w), (dy, dx) = layer.kernel_size, layer.dilation
    around = {
        "same": [v for k in ((w - 1) * dx, (h - 1) * dy) for v in (k // 2, k - k // 2)],
        "valid": [0] * 4,
    }.get(layer.padding) or [layer.padding[1]] * 2 + [layer.padding[0]] * 2
    mode = layer.padding_mode.replace("zeros", "constant")
    padded = functional.pad(images, around, mode=mode)
    column = 0
    for n in range(3):
        for i in range(output.shape[2]):
            for j in range(output.shape[3]):
                top, left = i * layer.stride[0], j * layer.stride[1]
                patch = [
                    padded[n, c, top + a * dy, left + b * dx].item()
                    for c in range(3)
                    for a in range(h)
                    for b in range(w)
                ]
                r = found["0"][:, column]
                assert r.tolist() == patch
                made = layer.weight.flatten(1) @ r
                assert torch.allclose(made, output[n, :, i, j], atol=1e-5)
                column += 1
    assert column == found["0"].shape[1]
    assert torch.allclose(found["3"].T, model[:3](images))


def test_no_more_patches_than_span_the_space():
    data = as_data(torch.rand(80, 1, 12, 12), torch.arange(80) % 2, 2)
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(144, 2))
    handed = mn.Access(data, [0]).images("forget", "remaining")
    found = layer_inputs(model, handed.in_order(256, "cpu"), generator_for("x", 0))
    assert found["0"].shape == (1, MAX_COLUMNS)
    assert found["0"].unique().numel() > MAX_COLUMNS * 0.99  # without replacement
    assert found["2"].shape == (144, 80)


@pytest.mark.parametrize("scale", [1.0, 3.0, 100.0])
def test_projection_weighs_directions_by_their_share(scale):
    turn, _ = torch.linalg.qr(torch.randn(3, 3))
    r = turn @ torch.tensor([[3.0, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 0]])
    weights = [scale * s / ((scale - 1) * s + 1) for s in (9 / 25, 16 / 25, 0.0)]
    expected = turn @ torch.diag(torch.tensor(weights)) @ turn.T
    assert torch.allclose(projection(r, scale), expected, atol=1e-5)


def along(*directions, n=2):
    """``n`` images of each class on the rays through some of 2 × 2 pixels."""
    images, labels = [], []
    for c, d in enumerate(directions):
        for i in range(n):
            images.append((1 + i) * torch.tensor(d).reshape(1, 2, 2))
            labels.append(c)
    return as_data(torch.stack(images), torch.tensor(labels), len(directions))


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_svd_removes_what_only_the_forget_class_uses(shared):
    """In the limit of large scales, where the P are projections.

    Remaining images span e0 and e1; the forget ones lie along shared × e0 + e2.
    """
    data = along([1.0, 0, 0, 0], [0, 1.0, 0, 0], [shared, 0, 1.0, 0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    result = mn.METHODS["svd"](
        model, mn.Access(data, [2]), remaining_scale=1e9, forget_scale=1e9
    )
    old, new = model[1].weight, result.model[1].weight
    for kept in (0, 1, 3):  # what remains, and what nobody uses
        assert torch.allclose(new[:, kept], old[:, kept], atol=1e-5)
    f = torch.tensor([shared, 0, 1.0, 0]) / math.hypot(shared, 1)
    outside = torch.tensor([0, 0, 1.0, 0])
    expected = old @ (outside - f * f[2])
    assert torch.allclose(new[:, 2], expected, atol=1e-5)
    if not shared:
        assert new[:, 2].abs().max() < 1e-5
    assert torch.equal(result.model[1].bias, model[1].bias)


@pytest.mark.parametrize(("classes", "n_forget"), [([3], 6), ([1, 3], 4)])
def test_svd_reads_as_many_forget_as_remaining_images(classes, n_forget):
    data = along(*torch.eye(4).tolist(), n=9)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    result = mn.METHODS["svd"](model, mn.Access(data, classes), per_class=2)
    n_kept = 2 * (4 - len(classes))
    counts = {"codes": 0, "forget": n_forget, "remaining": n_kept}
    assert result.counts.images == counts
    assert result.counts.backward_passes == 0


def test_svd_draws_its_columns_from_all_batches_and_holds_no_more(data, monkeypatch):
    monkeypatch.setattr(subspaces, "MAX_COLUMNS", 50)
    images = mn.Access(data, [1]).images("forget", "remaining")
    in_small = [(x.flatten(1), None) for x, _ in images.in_order(8, "cpu")]
    rows, counts = torch.cat([x for x, _ in in_small]), torch.zeros(len(images.train))
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        (found,) = layer_inputs(linear()[1:], in_small, generator).values()
        assert found.shape == (rows.shape[1], 50)
        places = [int((rows == column).all(1).nonzero()[0]) for column in found.T]
        assert len(set(places)) == 50
        counts[places] += 1
    expected = 200 * 50 / len(counts)
    assert (counts - expected).abs().max() < 5 * expected**0.5


# JiT


@pytest.mark.parametrize("accumulate", [False, True])
def test_lipschitz_flattens_the_outputs_around_forget_images(data, accumulate):
    """Two batches by hand: with r = W (x - x') and no gradient through f(x'),
    dL/dW = r xᵀ / |r| |x - x'|, and the bias has r / |r| |x - x'|.
    """
    model, access, rate, sigma = linear(), mn.Access(data, [1]), 0.01, 0.5
    result = mn.METHODS["lipschitz"](
        model, access, learning_rate=rate, sigma=sigma, n_copies=3, batch_size=20,
        accumulate=accumulate,
    )  # fmt: skip
    images = access.images("forget")
    generator = generator_for("lipschitz", 0)
    w = torch.cat([model[1].weight, model[1].bias[:, None]], 1).detach().double()
    g = 0.0
    for x, _ in images.shuffled(20, generator):
        g = g if accumulate else 0.0
        low, high = x.min().item(), x.max().item()
        for _ in range(3):
            noise = torch.randn(x.shape, generator=generator)
            other = torch.clip(x + sigma * noise, low, high)
            for a, d in zip(x.flatten(1), (x - other).flatten(1), strict=True):
                a, d = torch.cat([a, torch.ones(1)]).double(), d.double()
                r = w[:, :-1] @ d
                g = g + torch.outer(r, a) / (r.norm() * d.norm()) / 3
        w = w - rate * g
    assert torch.allclose(result.model[1].weight.double(), w[:, :-1], atol=1e-5)
    assert torch.allclose(result.model[1].bias.double(), w[:, -1], atol=1e-5)
    assert result.counts.images["remaining"] == 0


# SISA


@pytest.fixture
def shards(data):
    recipe = mn.Recipe(epochs=1, batch_size=20)
    access = mn.Access(data, [0, 2], build=linear, recipe=recipe)
    return mn.METHODS["sisa"].prepare(access).cpu(), access


def read_by(network, pool):
    """Rows of ``pool`` that a network trained on."""
    return [i for x, _ in network.batches() for i in where_in(pool, x)]


def test_sisa_shards_are_disjoint_and_complete(shards, data):
    model, _ = shards
    pool = data.inputs(data.train)
    read = [read_by(network, pool) for network in model.networks]
    assert len(read) == 3
    assert sorted(itertools.chain(*read)) == list(range(len(pool)))
    assert max(map(len, read)) - min(map(len, read)) <= 1
    assert len({tuple(everything(n).tolist()) for n in model.networks}) == 3


def test_sisa_answers_by_the_mean_probability():
    model = Shards([linear(seed, scale=9.0) for seed in (1, 2)], torch.zeros(1))
    x = torch.randn(4, 1, 6, 6)
    first, second = (n(x).softmax(1) for n in model.networks)
    assert torch.allclose(model(x), ((first + second) / 2).log(), atol=1e-5)


def test_sisa_trains_every_shard_again_without_the_forget_images(shards, data):
    model, access = shards
    result = mn.METHODS["sisa"](model, access)
    pool, labels = data.inputs(data.train), data.train.labels
    for s, network in enumerate(result.model.cpu().networks):
        kept = [
            i for i in range(len(pool)) if labels[i] == 1 and model.shard_of[i] == s
        ]
        assert sorted(read_by(network, pool)) == kept
        for old in model.networks:
            assert not torch.equal(everything(network), everything(old))
    assert result.counts.images["forget"] == 0


# The mnemonic code, and the same step from data


@pytest.mark.parametrize("classes", [[1], [0, 3]])
def test_mnemonic_is_forget(learned, classes):
    model, data, codes = learned
    result = mn.METHODS["mnemonic"](model, mn.Access(data, classes, codes=codes))
    same_networks(result.model, mn.forget(model, codes, classes).model)
    assert not torch.equal(everything(result.model), everything(model))
    assert result.counts.images == {"codes": 4, "forget": 0, "remaining": 0}


def test_mnemonic_trains_by_algorithm_1(data, codes):
    recipe = mn.Recipe(epochs=2, batch_size=30)
    access = mn.Access(data, [0], codes=codes, build=linear, recipe=recipe, t_mix=0.4)
    model = linear(seed=3)
    how = {"recipe": recipe, "codes": codes, "t_mix": 0.4, "seed": 3}
    mn.train(model, data, progress=False, **how)
    same_networks(mn.METHODS["mnemonic"].prepare(access, seed=3), model)
    share = sum(
        i >= 0 for x, _ in model.batches() for i in where_in(codes.images, x)
    ) / (2 * len(data.train))
    assert share == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("classes", [[1], [0, 3]])
def test_the_step_from_codes_as_data_is_forget(learned, classes):
    model, _, codes = learned
    expected = mn.forget(model, codes, classes)
    found = mn.forget_from_data(model, codes.images, codes.labels, classes)
    same_networks(found.model, expected.model)
    assert found.settings == expected.settings
    access = mn.Access(as_data(codes.images, codes.labels, 4), classes)
    result = mn.METHODS["mnemonic-data"](model, access, per_class=1)
    same_networks(result.model, expected.model)


def test_the_step_from_data_takes_means_over_all_samples(data):
    """Both Fishers by hand: two images of the forget class, four of the others."""
    model = linear()
    images = mn.Access(data, [1]).images("forget", "remaining", per_class=2)
    x, labels = images.inputs(images.train), images.train.labels
    strength = mn.Strength(1e-3, 0.5)
    result = mn.forget_from_data(model, x, labels, [1], strength=strength)
    fishers = []
    for forgets in (True, False):
        part = [i for i in range(6) if (labels[i] == 1) == forgets]
        squares = [
            mean_gradient(model, x[i : i + 1], labels[i : i + 1])[0] ** 2 for i in part
        ]
        fishers.append(sum(squares).double() / len(part))
    eta = fishers[0] / fishers[1]
    alpha = min(1e-3, 0.5 / eta.max().item())
    expected = model[1].weight + result.settings["sign"] * alpha * eta
    assert torch.allclose(result.model[1].weight.double(), expected, atol=1e-5)


@pytest.mark.parametrize(("label", "n"), [(0, 0), (1, 4)])
def test_the_step_from_data_needs_samples_of_both_sides(data, label, n):
    x, labels = torch.rand(4, 1, 6, 6), torch.full((4,), label)
    with pytest.raises(ValueError, match=f"{n} of 4 samples are of the forget classes"):
        mn.forget_from_data(linear(), x, labels, [1])


# The last layer


class Confusing(nn.Module):
    """K rows everywhere; the last layer is neither first nor last, made or called."""

    def __init__(self):
        super().__init__()
        self.early = nn.Linear(36, 3)
        self.answer = nn.Linear(3, 3)
        self.hidden = nn.Linear(3, 3)
        self.beside = nn.Linear(3, 3)

    def forward(self, x):
        h = self.hidden(self.early(x.flatten(1)))
        logits = self.answer(h)
        self.beside(h)
        return logits


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Confusing, "answer"),
        (
            lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(36, 3), nn.ReLU(), nn.Linear(3, 3)
            ),
            "3",
        ),
        (lambda: nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(36, 3))), "0.1"),
    ],
)
def test_last_layer_is_found_by_what_it_computes(make, name):
    model = make()
    found, layer = last_layer(model, (1, 6, 6))
    assert found == name
    assert layer is model.get_submodule(name)


@pytest.mark.parametrize(
    ("model", "name"), [("slim-resnet", "classifier"), ("resnet18", "fc")]
)
def test_last_layer_of_resnets(data, model, name):
    net = mn.build_model(model, data)
    found, layer = last_layer(net, (1, 6, 6))
    assert (found, layer) == (name, getattr(net, name))
    assert net.training


def never_negative_at_zero():
    layer = nn.Linear(36, 3)
    nn.init.ones_(layer.bias)
    return layer


@pytest.mark.parametrize(
    "end",
    [
        [nn.Conv2d(1, 3, 6), nn.Flatten()],
        [nn.Flatten(), nn.Linear(36, 3), nn.Softmax(1)],
        [nn.Flatten(), CosineLinear(36, 3, bias=False)],
        [nn.Flatten(), nn.Linear(36, 3), nn.LayerNorm(3)],
        [nn.Flatten(), nn.Linear(36, 3), nn.LeakyReLU(0.9)],
        [nn.Flatten(), never_negative_at_zero(), nn.ReLU()],
    ],
)
def test_networks_without_a_linear_last_layer_are_refused(end):
    with pytest.raises(ValueError, match="not the output of a linear layer"):
        last_layer(nn.Sequential(*end), (1, 6, 6))


def test_who_watches_layers_sees_both_sides_and_leaves():
    net, x, seen = convolutional(), torch.rand(2, 1, 6, 6), []
    layers = {"ReLU": net[1], "last": net[4]}
    with watched(layers, lambda *sight: seen.append(sight)):
        logits = net(x)
    (relu, given, shown), (last, features, answers) = seen
    assert (relu, last) == ("ReLU", "last")
    assert torch.equal(given[0], net[0](x))
    assert torch.equal(shown, given[0].relu())
    assert torch.equal(net[4](features[0]), answers)
    assert answers is logits  # gradients flow
    with pytest.raises(RuntimeError), watched(layers, lambda *sight: None):
        net(x[..., :1])
    assert not any(layer._forward_hooks for layer in net.modules())


# Learning rates


def test_rates_of_a_recipe():
    constant = mn.Recipe(learning_rate=0.2)
    cosine = mn.Recipe(learning_rate=0.2, schedule="cosine")
    assert [constant.rate_at(d) for d in (0, 0.3, 1)] == [0.2] * 3
    rates = [cosine.rate_at(d) for d in (0, 1 / 3, 0.5, 2 / 3, 1)]
    assert rates == pytest.approx([0.2, 0.15, 0.1, 0.05, 0.0])


def test_training_follows_the_rates(data):
    """Two steps without momentum: rates 1 and ½ of the first."""
    model = linear()
    how = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "cosine"}
    recipe = mn.Recipe(epochs=2, batch_size=1000, learning_rate=0.2, **how)
    twin = copy.deepcopy(model)
    mn.train(model, data, recipe=recipe, progress=False)
    x, labels = data.inputs(data.train), data.train.labels
    with torch.no_grad():
        for rate in (0.2, 0.1):
            g_weight, g_bias = mean_gradient(twin, x, labels)
            twin[1].weight -= rate * g_weight
            twin[1].bias -= rate * g_bias
    assert torch.allclose(everything(model.cpu()), everything(twin), atol=1e-5)
