import pytest
import torch
from torch import nn
from torch.nn import functional

import mnemonic as mn


class Tied(nn.Module):
    """One matrix used twice, as embedding and as classifier."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.classifier = nn.Linear(4, 6, bias=False)
        self.classifier.weight = self.embedding.weight

    def forward(self, tokens):
        return self.classifier(self.embedding(tokens).sum(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].mean(1))


def networks():
    images, tokens = (5, 2, 6, 6), (5, 3)
    conv = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten())
    return {
        "linear": (nn.Sequential(nn.Flatten(), nn.Linear(72, 3)), images),
        "convolution": (nn.Sequential(*conv, nn.Linear(144, 3)), images),
        "grouped": (
            nn.Sequential(
                nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)
            ),
            images,
        ),
        "batchnorm": (
            nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3)),
            images,
        ),
        "layernorm": (
            nn.Sequential(nn.Flatten(), nn.LayerNorm(72), nn.Linear(72, 3)),
            images,
        ),
        "embedding": (
            nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(12, 3)),
            tokens,
        ),
        "tied": (Tied(), tokens),
        "attention": (Attention(), (5, 3, 4)),
        "dropout": (
            nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 3)),
            images,
        ),
    }


@pytest.mark.parametrize("name", networks())
def test_fisher_is_the_mean_of_squared_derivatives(name, device):
    """Against central differences of each sample's loss, one weight at a time."""
    torch.manual_seed(0)
    model, shape = networks()[name]
    model = model.double().to(device).train()
    if name == "batchnorm":  # running statistics that matter
        model[0].running_mean.fill_(0.3)
        model[0].running_var.fill_(2.0)
    if len(shape) == 2:
        inputs = torch.randint(6, shape, device=device)
    else:
        inputs = torch.rand(shape, dtype=torch.float64, device=device)
    labels = torch.tensor([0, 1, 2, 0, 1], device=device)
    fisher = mn.diagonal_fisher(model, inputs, labels)
    assert model.training  # its mode was given back
    model.eval()
    assert list(fisher) == [n for n, _ in model.named_parameters()]

    def losses():
        with torch.no_grad():
            return functional.cross_entropy(model(inputs), labels, reduction="none")

    for parameter_name, parameter in model.named_parameters():
        weights = parameter.data.view(-1)
        for i in range(0, len(weights), max(len(weights) // 12, 1)):
            old = weights[i].item()
            weights[i] = old + 1e-5
            above = losses()
            weights[i] = old - 1e-5
            slope = (above - losses()) / 2e-5
            weights[i] = old
            expected = slope.square().mean()
            assert fisher[parameter_name].view(-1)[i] == pytest.approx(
                expected.item(), rel=1e-5, abs=1e-12
            )


def test_square_of_the_mean_is_another_quantity(tiny, data):
    x, y = data.inputs(data.test, slice(0, 12)), data.test.labels[:12]
    fisher = mn.diagonal_fisher(tiny, x, y)
    loss = functional.cross_entropy(tiny(x), y)
    batch = torch.autograd.grad(loss, list(tiny.parameters()))
    for value, g in zip(fisher.values(), batch, strict=True):
        assert (value >= g.square() - 1e-12).all()  # Jensen
    assert (fisher["1.weight"].sum() > 2 * batch[0].square().sum()).item()


def test_mean_over_samples_not_sum(tiny, codes):
    one = mn.diagonal_fisher(tiny, codes.images, codes.labels)
    twice = mn.diagonal_fisher(
        tiny, codes.images.repeat(2, 1, 1, 1), codes.labels.repeat(2)
    )
    for a, b in zip(one.values(), twice.values(), strict=True):
        assert torch.allclose(a, b)


def test_frozen_and_unused_weights(tiny, codes):
    tiny[1].weight.requires_grad_(False)
    assert "1.weight" not in mn.diagonal_fisher(tiny, codes.images, codes.labels)
    tiny.register_parameter("unused", nn.Parameter(torch.ones(2)))
    fisher = mn.diagonal_fisher(tiny, codes.images, codes.labels)
    assert fisher["unused"].tolist() == [0, 0]
    assert all(p.grad is None for p in tiny.parameters())


def test_works_inside_no_grad(tiny, codes):
    with torch.no_grad():
        fisher = mn.diagonal_fisher(tiny, codes.images, codes.labels)
    assert fisher["1.weight"].sum() > 0


class MeanOfBatch(nn.Sequential):
    def forward(self, x):
        return super().forward(x).mean(0, keepdim=True)


class Detached(nn.Sequential):
    def forward(self, x):
        return super().forward(x).detach()


def test_wrong_input_is_refused(tiny, codes):
    x, y = codes.images, codes.labels
    for inputs, labels, message in (
        (x[:0], y[:0], "at least one input"),
        (x, y[:2], "one label for each"),
        (x, y + 1, r"labels range from 1 to 3, .* 0\.\.2"),
        (x[:, :, :3], y, "cannot take inputs"),
        (x * torch.nan, y, "the inputs are NaN"),
        (torch.cat([x[:2], x[2:] * torch.nan]), y, "NaN or infinite for some of the"),
    ):
        with pytest.raises(ValueError, match=message):
            mn.diagonal_fisher(tiny, inputs, labels)
    for model, message in (
        (MeanOfBatch(nn.Flatten(), nn.Linear(36, 3)), r"gives \[1, 3\] where logits"),
        (Detached(nn.Flatten(), nn.Linear(36, 3)), "cut off from its weights"),
        (None, "the network is None"),
    ):
        with pytest.raises(ValueError, match=message):
            mn.diagonal_fisher(model, x, y)
    tiny.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable weight"):
        mn.diagonal_fisher(tiny, x, y)


def test_errors_between_fishers():
    a = {"w": torch.arange(200.0).reshape(10, 20)}
    same = mn.compare_fishers(a, a)
    assert (same.mean_squared, same.relative_norm) == (0, 0)
    assert (same.rank_correlation, same.top_overlap) == (pytest.approx(1), 1)
    scaled = mn.compare_fishers({"w": 3 * a["w"]}, a)
    assert scaled.relative_norm == pytest.approx(2)
    assert scaled.mean_squared == pytest.approx(4 * a["w"].square().mean().item())
    assert scaled.rank_correlation == pytest.approx(1)
    turned = mn.compare_fishers({"w": -a["w"]}, a)
    assert turned.rank_correlation == pytest.approx(-1)
    assert turned.top_overlap == 0
    tied = mn.compare_fishers(
        {"w": torch.tensor([1.0, 1, 2, 3])}, {"w": torch.tensor([1.0, 2, 3, 4])}
    )
    assert tied.rank_correlation == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    with pytest.raises(ValueError, match="different networks"):
        mn.compare_fishers(a, {"w": torch.zeros(3)})
