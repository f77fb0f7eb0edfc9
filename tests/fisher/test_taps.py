"""The batched pass against a loop over samples, in float64."""

import gc
import weakref

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.fisher import diagonal as module
from mnemonic.fisher import tapped


def looped(model, inputs, labels):
    """The mean of squares, sample by sample, by nothing of the package."""
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    total = {n: torch.zeros_like(p) for n, p in weights.items()}
    model.eval()
    for i in range(len(inputs)):
        loss = functional.cross_entropy(model(inputs[i : i + 1]), labels[i : i + 1])
        gradients = torch.autograd.grad(
            loss, list(weights.values()), materialize_grads=True
        )
        for summed, g in zip(total.values(), gradients, strict=True):
            summed += g**2 / len(inputs)
    return total


def same(model, inputs, labels, rtol=1e-5):
    fisher = mn.diagonal_fisher(model, inputs, labels)
    expected = looped(model, inputs, labels)
    assert list(fisher) == list(expected)
    for name, value in fisher.items():
        torch.testing.assert_close(
            value, expected[name], rtol=rtol, atol=1e-25, msg=lambda m, n=name: n + m
        )
    assert any(v.sum() > 0 for v in fisher.values())
    return fisher


@pytest.fixture
def taps_only(monkeypatch):
    def never(*_):
        raise AssertionError("taps were not taken")

    monkeypatch.setattr(module, "_one_by_one", never)


@pytest.fixture
def no_taps(monkeypatch):
    """Say which of the other two ways was taken."""
    ways = []
    for name in ("_one_by_one", "_looped"):
        way = getattr(module, name)

        def noted(*given, way=way, name=name):
            ways.append(name)
            return way(*given)

        monkeypatch.setattr(module, name, noted)
    return ways


def images(n=5, channels=2, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (n, channels, size, size)
    inputs = torch.rand(shape, generator=generator, dtype=torch.float64)
    return inputs, torch.arange(n) % 3


def conv_net(*layers, width):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 3)).double()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        y = functional.relu(self.norm(self.a(x)), inplace=True) + self.b(x)
        return self.head(y.mean((2, 3)))


class Mixer(nn.Module):
    """Linear layers over positions and over channels, and a norm over both."""

    def __init__(self):
        super().__init__()
        self.positions, self.channels = nn.Linear(36, 36), nn.Linear(2, 2, bias=False)
        self.norm, self.head = nn.LayerNorm((36, 2)), nn.Linear(2, 3)

    def forward(self, x):
        x = self.positions(x.flatten(2)).mT
        return self.head(self.norm(self.channels(x).relu_()).mean(1))


class Windows(nn.Module):
    """Four windows a sample become rows of their own."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(9, 4), nn.Linear(4, 3)

    def forward(self, x):
        n = len(x)
        x = x.unfold(2, 3, 3).unfold(3, 3, 3).reshape(n * 8, 9)
        return self.head(self.inner(x).tanh().view(n, 8, 4).sum(1))


def tapped_networks():
    bn, gn = nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
    bn.running_mean.fill_(0.3)
    bn.running_var.fill_(2.0)
    frozen = conv_net(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), width=64)
    frozen[0].weight.requires_grad_(False)
    frozen[1].bias.requires_grad_(False)
    return {
        "linear": conv_net(width=72),
        "convolution": conv_net(nn.Conv2d(2, 4, 3), nn.ReLU(True), width=64),
        "large image": conv_net(nn.Conv2d(2, 3, 3, padding=2), nn.Tanh(), width=192),
        "reflected": conv_net(
            nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), width=144
        ),
        "batchnorm": conv_net(nn.Conv2d(2, 4, 3), bn, nn.ReLU(True), width=64),
        "no scale": conv_net(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False), width=64
        ),
        "groupnorm": conv_net(nn.Conv2d(2, 4, 3), gn, nn.ReLU(True), width=64),
        "layernorm": conv_net(nn.Flatten(), nn.LayerNorm(72), width=72),
        "dropout": conv_net(nn.Dropout(0.5), width=72),
        "frozen": frozen,
        "residual": Residual().double(),
        "mixer": Mixer().double(),
        "windows": Windows().double(),
    }


@pytest.mark.parametrize("name", tapped_networks())
def test_one_batched_pass_equals_a_loop(name, taps_only):
    torch.manual_seed(0)
    model = tapped_networks()[name]
    same(model, *images(size=6))


@pytest.mark.parametrize("name", ["slim-resnet", "resnet10"])
def test_residual_networks_go_through_taps(name, data, taps_only):
    if name == "resnet10":  # torchvision's resnet18, with one block a stage
        block = torchvision.models.resnet.BasicBlock
        model = torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=3)
        model.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    else:
        model = mn.build_model(name, data, seed=0)
    model = model.double()
    same(model, data.inputs(data.test, slice(0, 2)).double(), data.test.labels[:2])


def test_grouped_networks_go_through_taps(taps_only):
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_small(num_classes=3).double()
    same(model, *images(3, 3, 32))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 4),
    groups=st.integers(1, 3),
    per_group=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.integers(5, 10),
    bias=st.booleans(),
)
def test_every_convolution(
    n, groups, per_group, kernel, stride, padding, dilation, size, bias
):
    channels = groups * per_group
    layer = nn.Conv2d(
        channels, 2 * groups, kernel, stride, padding, dilation, groups, bias
    )
    with torch.random.fork_rng():
        torch.manual_seed(n)
        width = layer(torch.zeros(1, channels, size, size)).numel()
        model = conv_net(layer, nn.Tanh(), width=width)
    same(model, *images(n, channels, size))


def test_products_of_patches_are_the_gradients_of_convolutions(monkeypatch):
    """What a GPU does, on a CPU: every convolution by its patches."""
    from mnemonic.fisher import rules

    monkeypatch.setattr(rules, "SMALL", 10**9)
    for groups in (1, 2):
        layer = nn.Conv2d(2, 4, 3, 2, 1, 1, groups)
        same(conv_net(layer, nn.Tanh(), width=100), *images(4, 2, 10))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(72, 72), nn.Linear(72, 72)
        self.b.weight = self.a.weight
        self.head = nn.Linear(72, 3)

    def forward(self, x):
        return self.head(self.b(self.a(x.flatten(1)).tanh()))


class TwoWays(nn.Module):
    """A weight in a layer, and by hand."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(72, 3)

    def forward(self, x):
        return self.head(x.flatten(1)) + self.head.weight.sum(1)


class Interleaved(nn.Module):
    """Positions come before samples: rows of a sample are no block."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(36, 4), nn.Linear(4, 3)

    def forward(self, x):
        rows = x.flatten(2).transpose(0, 1).reshape(-1, 36)  # [2 · N, 36]
        return self.head(self.inner(rows).tanh().view(2, len(x), 4).sum(0))


class SequenceFirst(Interleaved):
    def forward(self, x):
        return self.head(self.inner(x.flatten(2).transpose(0, 1)).tanh().sum(0))


class ClassToken(nn.Module):
    """A vision transformer in small."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.rand(1, 1, 4))
        self.places = nn.Parameter(torch.rand(1, 5, 4))
        self.patches = nn.Conv2d(2, 4, 3, 3)
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        patches = self.patches(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.places
        return self.head(self.block(x)[:, 0])


class Counting(nn.Module):
    """A buffer of integers, and a table of biases looked up by it (as in Swin)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("index", torch.tensor([2, 0, 1]))
        self.table = nn.Parameter(torch.rand(3))
        self.head = nn.Linear(72, 3)

    def forward(self, x):
        return self.head(x.flatten(1)).tanh() + self.table[self.index]


class DataDependent(nn.Module):
    """Control flow that vmap cannot follow."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.head = nn.Linear(72, 3)

    def forward(self, x):
        y = self.head(x.flatten(1))
        return y * self.scale if float(x.sum()) > 0 else y


class OwnStatistics(nn.Module):
    """Every batch normalised by itself, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2, track_running_stats=False)
        self.head = nn.Linear(72, 3)

    def forward(self, x):
        return self.head(self.norm(x).flatten(1))


class Centred(nn.Module):
    """Samples that see each other, where no layer shows it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(72, 3)

    def forward(self, x):
        return self.head(x.flatten(1) - 0.5 * x.flatten(1).mean(0))


class AfterTheHead(Centred):
    def forward(self, x):
        y = self.head(x.flatten(1))
        return y - 0.5 * y.mean(0)


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.head = nn.ConvTranspose2d(2, 2, 2, 2), nn.Linear(288, 3)

    def forward(self, x):
        return self.head(self.up(x).flatten(1))


OTHERS = [Tied, TwoWays, Interleaved, SequenceFirst, ClassToken, Counting, Transposed]


@pytest.mark.parametrize("network", OTHERS)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_taps_cannot_follow_goes_another_way(network, n, no_taps):
    torch.manual_seed(0)
    same(network().double(), *images(n))
    if n > 1:
        assert no_taps == ["_one_by_one"]


@pytest.mark.parametrize(
    "network", [DataDependent, OwnStatistics, Centred, AfterTheHead]
)
def test_what_taps_cannot_follow_is_right_all_the_same(network, no_taps):
    torch.manual_seed(0)
    same(network().double(), *images())
    assert no_taps[0] == "_one_by_one"
    assert ("_looped" in no_taps) == (network in (DataDependent,))


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_scripted_networks(no_taps):
    same(torch.jit.script(conv_net(nn.Conv2d(2, 4, 3), width=64)), *images())
    assert no_taps == ["_one_by_one", "_looped"]


WAYS = {"taps": (tapped, "_of_chunk"), "vmap": (module, "_mapped")}


@pytest.mark.parametrize("way", ["taps", "vmap"])
def test_chunks_of_any_size_give_the_same(way, monkeypatch):
    from mnemonic.fisher import chunks

    torch.manual_seed(0)
    model = (Residual if way == "taps" else ClassToken)().double()
    x, y = images(7)
    whole = same(model, x, y)
    sizes = []
    where, name = WAYS[way]
    inner = getattr(where, name)

    def noted(*given):
        sizes.append(len(given[-1]))
        return inner(*given)

    monkeypatch.setattr(where, name, noted)
    monkeypatch.setattr(module, "_looped", None)
    monkeypatch.setattr(chunks, "SMALL_BYTES", 0)
    some = {"taps": 25_000, "vmap": 50_000}[way]  # for several samples, not for all
    for free in (1, some, 10**9):
        monkeypatch.setattr(chunks, "free_bytes", lambda _, free=free: free)
        sizes.clear()
        for n, value in mn.diagonal_fisher(model, x, y).items():
            torch.testing.assert_close(value, whole[n], rtol=1e-12, atol=1e-25)
        assert sum(sizes) == 7
        assert (max(sizes) == 1) == (free == 1)
        assert (max(sizes) == 7) == (free == 10**9)


@pytest.mark.parametrize("way", ["taps", "vmap"])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_chunk_and_goes_on(way, error, monkeypatch):
    """A backend that cannot hold more than two samples."""
    torch.manual_seed(0)
    model = (Residual if way == "taps" else ClassToken)().double()
    x, y = images(7)
    whole = looped(model, x, y)
    where, name = WAYS[way]
    inner, sizes = getattr(where, name), []

    def small(*given):
        sizes.append(len(given[-1]))
        if len(given[-1]) > 2:
            raise error
        return inner(*given)

    monkeypatch.setattr(where, name, small)
    monkeypatch.setattr(module, "_looped", None)
    fisher = mn.diagonal_fisher(model, x, y)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    for n, value in fisher.items():
        torch.testing.assert_close(value, whole[n], rtol=1e-9, atol=1e-25)


def test_no_memory_for_one_sample_is_left_to_the_loop(monkeypatch, no_taps):
    def never(*_):
        raise MemoryError

    monkeypatch.setattr(tapped, "_of_chunk", never)
    monkeypatch.setattr(module, "_mapped", never)
    same(Residual().double(), *images())
    assert no_taps == ["_one_by_one", "_looped"]


@pytest.mark.parametrize("network", [Residual, ClassToken])
def test_half_precision_is_squared_in_single(network):
    torch.manual_seed(0)
    model = network().double()
    x, y = images()
    exact = looped(model, x, y)
    half = mn.diagonal_fisher(model.bfloat16(), x.bfloat16(), y)
    for name, value in half.items():
        assert value.dtype == torch.float32
        assert (value - exact[name]).norm() < 0.25 * exact[name].norm()


def test_small_gradients_are_kept_in_half_precision():
    """1e-4 squared is 0 in float16."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).half()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([8.5, 0.0]))
    fisher = mn.diagonal_fisher(
        model, torch.ones(2, 1, 2, 2).half(), torch.zeros(2, dtype=torch.long)
    )
    smallest = torch.finfo(torch.float16).smallest_normal / 1024
    assert 0 < fisher["1.bias"][1] < smallest


@pytest.mark.parametrize("network", [Residual, ClassToken, DataDependent])
def test_same_input_same_bits(network):
    torch.manual_seed(0)
    model = network().double()
    first, second = (mn.diagonal_fisher(model, *images()) for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_the_network_is_left_as_it_was(data):
    model = mn.build_model("slim-resnet", data, seed=0)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    x = data.inputs(data.test, slice(0, 4))
    kept = x.clone()
    mn.diagonal_fisher(model, x, data.test.labels[:4])
    assert torch.equal(x, kept)
    assert model.training
    assert all((p.grad == 1).all() for p in model.parameters())
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


@pytest.mark.parametrize("n", [1, 3])
def test_networks_are_let_go_of(n):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3))
    held = weakref.ref(model[1].weight)
    mn.diagonal_fisher(model, torch.rand(n, 1, 2, 2), torch.arange(n))
    if n > 1:
        mn.forget_from_data(model, torch.rand(n, 1, 2, 2), torch.arange(n), [1])
    del model
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4)])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_channels_last_gives_the_same_fisher_of_one_sample_and_of_more(norm, n):
    """A smooth activation behind BatchNorm: torch's backward minds the strides."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), norm, nn.GELU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    x, y = torch.rand(n, 1, 6, 6), torch.arange(n)
    expected = looped(model, x, y)
    found = mn.diagonal_fisher(model.to(memory_format=torch.channels_last), x, y)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])
