"""Training of networks as people have them, and the keys of what was trained."""

import copy
import random
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.networks.asked import check_outputs
from mnemonic.networks.layers import last_layer
from mnemonic.storage import cache_folder

QUICK = mn.Recipe(epochs=2, batch_size=16, learning_rate=0.1)


def net(*middle):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(36, 8), *middle, nn.Tanh(), nn.Linear(8, 3)
        )


def trained_alone(model, data, **how):
    how = {"recipe": QUICK, "progress": False} | how
    return mn.train(model, data, **how), dict(model.state_dict())


@pytest.mark.parametrize(
    "around",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.no_grad,
        torch.inference_mode,
    ],
    ids=["autocast", "no_grad", "inference"],
)
def test_training_does_not_heed_what_surrounds_it(data, around):
    _, alone = trained_alone(net(), data)
    model = net()
    with around():
        scores = mn.evaluate(model, data, [0])
        _, inside = trained_alone(model, data)
    assert all(torch.equal(inside[n], w) for n, w in alone.items())
    assert scores.accuracy == mn.evaluate(net(), data, [0]).accuracy


def test_codes_and_weights_do_not_follow_another_default_device(data, codes):
    built = mn.build_model("mlp", data, seed=1)[1].weight
    torch.set_default_device("meta")
    try:
        assert torch.equal(mn.MnemonicCodes.draw(data, seed=0).images, codes.images)
        assert torch.equal(mn.build_model("mlp", data, seed=1)[1].weight, built)
    finally:
        torch.set_default_device(None)


def test_a_last_batch_of_one_names_the_batch_size(data):
    model = net(nn.BatchNorm1d(8))
    recipe = mn.Recipe(epochs=1, batch_size=len(data.train) - 1)
    with pytest.raises(ValueError, match=r"BatchNorm; give .* another batch_size"):
        mn.train(model, data, recipe=recipe, progress=False)


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = net()

    def forward(self, x):
        y = self.body(x)
        return (y, y) if self.training else y


def test_a_tuple_in_training_alone_says_to_leave_out_the_heads(data):
    with pytest.raises(ValueError, match=r"gives a tuple while it trains.*auxiliary"):
        mn.train(TwoOutputs(), data, recipe=QUICK, progress=False)


def test_half_precision_is_trained_in_single(data):
    for model in (net().half(), net().bfloat16()):
        with pytest.raises(ValueError, match=r"half precision.*model\.float\(\)"):
            mn.train(model, data, recipe=QUICK, progress=False)
    history, weights = trained_alone(net().double(), data)
    assert {w.dtype for w in weights.values()} == {torch.float64}
    assert history.losses[-1] < history.losses[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_inputs_follow_the_network(data, dtype):
    scores = mn.evaluate(net().to(dtype), data, [0])
    assert abs(scores.accuracy - mn.evaluate(net(), data, [0]).accuracy) < 5


def test_layers_without_weights_yet_are_named(data, codes):
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    for use in (
        lambda: mn.train(model, data, progress=False),
        lambda: mn.forget(model, codes, [0]),
        lambda: mn.trained(model, data, progress=False),
    ):
        with pytest.raises(ValueError, match=r"lazy layers.*run it once"):
            use()


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Sigmoid()])
def test_probabilities_in_the_place_of_logits_are_said(data, codes, last):
    model = nn.Sequential(net(), last)
    with pytest.warns(RuntimeWarning, match="gives probabilities"):
        mn.diagonal_fisher(model, codes.images, codes.labels)
    mn.evaluate(model, data, [0])  # what it answers is the same
    logs = nn.Sequential(net(), nn.LogSoftmax(1))  # whose cross-entropy is the same
    one, two = (
        [*mn.diagonal_fisher(m, codes.images, codes.labels).values()]
        for m in (net(), logs)
    )
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b)


def test_layers_of_a_compiled_network_are_found(data):
    model = net()
    compiled = torch.compile(model, backend="eager")
    check_outputs(compiled, data.inputs(data.test, slice(4)))
    assert last_layer(compiled, data.input_shape)[1] is model[3]


class Own(nn.Module):
    """A network of the user, with whatever a test puts on it."""

    def __init__(self):
        super().__init__()
        self.body = net()

    def forward(self, x):
        x = x.flatten(1) * getattr(self, "scale", 1.0)
        return self.body(x)


def drawing(of):
    def forward(self, x):
        return self.body(x + 0.1 * of())

    return forward


CHANGES = {
    "frozen": lambda m: m.body[1].requires_grad_(False),
    "attribute": lambda m: setattr(m, "scale", 2.0),
    "tensor": lambda m: setattr(m, "scale", torch.full((36,), 0.5)),
    "forward": lambda m: setattr(
        m, "forward", types.MethodType(lambda self, x: functional.relu(self.body(x)), m)
    ),
    "closure": lambda m: setattr(m, "forward", lambda x: -m.body(x)),
    "hook": lambda m: m.body[1].register_forward_hook(lambda _, __, y: y.relu()),
    "slope": lambda m: m.body.__setitem__(2, nn.LeakyReLU(0.3)),
    "other slope": lambda m: m.body.__setitem__(2, nn.LeakyReLU(0.1)),
    "gradient": lambda m: m.body[1].weight.register_hook(lambda g: 0 * g),
}


def test_what_changes_a_training_is_in_its_key(data):
    made = {}
    for name, change in ({"nothing": lambda m: None} | CHANGES).items():
        for _ in range(2):
            change(model := Own())
            mn.trained(model, data, recipe=QUICK, progress=False)
        change(fresh := Own())
        mn.train(fresh, data, recipe=QUICK, progress=False)
        for key, value in model.state_dict().items():
            assert torch.equal(fresh.state_dict()[key], value), name
        made[name] = model
    kept = [*(cache_folder() / "checkpoints").glob("*.safetensors")]
    assert len(kept) == len(CHANGES) + 1


@pytest.mark.parametrize("of", [random.random, np.random.rand], ids=["python", "numpy"])
def test_streams_that_a_network_draws_from_are_in_its_key(data, of, monkeypatch):
    monkeypatch.setattr(Own, "forward", drawing(of))

    def trained(seed, how):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        model = copy.deepcopy(Own())
        how(model, data, recipe=QUICK, progress=False)
        return model.body[1].weight.detach()

    one, two = trained(0, mn.trained), trained(1, mn.trained)
    assert not torch.equal(one, two)
    assert torch.equal(trained(0, mn.trained), one)
    assert torch.equal(trained(0, mn.train), one)


def test_a_file_under_its_old_name_is_another_image(tmp_path, monkeypatch):
    from PIL import Image

    def folder(shade):
        for part in ("train", "test"):
            for c in range(2):
                for i in range(12):
                    path = tmp_path / part / f"class{c}" / f"{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (8, 8), (100 * c, 10 * i, shade)).save(path)

    monkeypatch.setattr("mnemonic.data.splits.IN_MEMORY_LIMIT", 1)
    for shade in (0, 0, 77):
        if shade or not tmp_path.joinpath("train").exists():
            folder(shade)
        data = mn.ImageData.from_folder(tmp_path, image_size=8)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        with torch.no_grad():
            model[1].weight.zero_()
            model[1].bias.zero_()
        mn.trained(model, data, recipe=QUICK, progress=False)
    assert len([*(cache_folder() / "checkpoints").glob("*.safetensors")]) == 2
