import copy
import math

import pytest
import safetensors
import torch
from conftest import blobs
from torch import nn

import mnemonic as mn
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.lab import text
from mnemonic.lab.text import TextClassifier, name_vectors

DIGITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
]


def tower(seed=0, out=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, out))


def test_logits_are_cosines_over_the_temperature():
    network = tower()
    vectors = torch.tensor([[3.0, 0, 0, 4], [0, 0, -2, 0], [1, 1, 1, 1]])
    inputs = torch.rand(5, 1, 6, 6)
    logits = TextClassifier(network, vectors, temperature=0.5)(inputs).detach()
    assert logits.shape == (5, 3)
    for i in range(5):
        g = network(inputs[i : i + 1])[0].tolist()
        for k, v in enumerate(vectors.tolist()):
            dot = sum(a * b for a, b in zip(g, v, strict=True))
            cosine = dot / math.hypot(*g) / math.hypot(*v)
            assert float(logits[i, k]) == pytest.approx(cosine / 0.5, abs=1e-5)


def test_asked_with_other_names_the_images_stay_and_the_answers_move():
    model = TextClassifier(tower(), torch.eye(4)[:3])
    turned = model.asked_with(torch.eye(4)[[2, 0, 1]])
    inputs = torch.rand(5, 1, 6, 6)
    assert torch.equal(turned(inputs), model(inputs)[:, [2, 0, 1]])
    with torch.no_grad():
        turned.tower[1].weight.zero_()
    assert (model.tower[1].weight != 0).any()


def test_vectors_are_no_weights():
    model = TextClassifier(tower(), torch.eye(4))
    assert [name for name, _ in model.named_parameters()] == [
        "tower.1.weight",
        "tower.1.bias",
    ]


def test_temperature_tells_two_trainings_apart():
    data = mn.ImageData.from_arrays(
        train=blobs(seed=0), test=blobs(seed=1), class_names=["a", "b", "c"]
    )
    logits = []
    for temperature in (0.1, 1.0):
        model = TextClassifier(tower(), torch.eye(4)[:3], temperature=temperature)
        recipe = mn.Recipe(epochs=2, batch_size=16)
        mn.trained(model, data, recipe=recipe, progress=False)
        logits.append(model.tower(data.inputs(data.test)).detach())
    assert not torch.equal(*logits)


def test_forget_takes_it_and_leaves_the_vectors(data, codes):
    model = TextClassifier(tower(), torch.eye(4)[:3], temperature=0.2)
    recipe = mn.Recipe(epochs=60, batch_size=16, learning_rate=0.1)
    mn.train(model, data, recipe=recipe, codes=codes, t_mix=0.2, progress=False)
    before = copy.deepcopy(model.state_dict())
    result = quietly_forget(model, codes, [1])
    after = result.model.state_dict()
    assert torch.equal(after["vectors"], before["vectors"])
    assert not torch.equal(after["tower.1.weight"], before["tower.1.weight"])
    assert mn.evaluate(model, data, [1]).forgetting_error < 20
    assert set(result.layers["layer"]) == {"tower.1.weight", "tower.1.bias"}


@pytest.mark.parametrize(
    "vectors",
    [torch.zeros(3, 4), torch.ones(3), torch.full((3, 4), torch.nan), [[1.0, 2.0]]],
)
def test_wrong_vectors_are_named(vectors):
    with pytest.raises(ValueError, match=r"shape \[K, D\]"):
        TextClassifier(tower(), vectors)
    with pytest.raises(ValueError, match=r"shape \[K, D\]"):
        TextClassifier(tower(), torch.eye(4)).asked_with(vectors)


@pytest.mark.parametrize("temperature", [0, -1.0, None, math.nan])
def test_wrong_temperature_is_named(temperature):
    with pytest.raises(ValueError, match="temperature is"):
        TextClassifier(tower(), torch.eye(4), temperature=temperature)


def test_names_that_are_not_there_are_named():
    for names in (["three", "trois"], "trois"):
        with pytest.raises(ValueError, match=r"no vector of 'trois'; there are zero"):
            name_vectors(names)
    with pytest.raises(ValueError, match="no vector of no name"):
        name_vectors([])


@pytest.mark.parametrize(
    "phrase", ["{word}", "the digit {word}", "a handwritten {word}"]
)
def test_each_phrase_is_nearest_to_its_own_digit(phrase):
    # A broken table or a shifted row would not keep this order.
    phrased = name_vectors([phrase.format(word=word) for word in DIGITS])
    assert phrased.shape == (10, 512)
    assert torch.allclose(phrased.norm(dim=1), torch.ones(10), atol=1e-5)
    plain = name_vectors(DIGITS)
    centred = [v - v.mean(0) for v in (phrased, plain)]
    nearest = (centred[0] @ centred[1].T).argmax(0)
    assert (nearest == torch.arange(10)).sum() >= 9


def test_file_says_where_it_is_from():
    with safetensors.safe_open(text._FILE, framework="pt") as file:
        told = file.metadata()
    assert told["licence"] == "Apache-2.0"
    assert "Universal Sentence Encoder" in told["source"]
    assert text._FILE.with_name(told["made_by"]).is_file()
