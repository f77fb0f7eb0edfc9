import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mnemonic as mn
from mnemonic.lab import checkpoints
from mnemonic.lab.contents import contents
from mnemonic.lab.keys import reached
from mnemonic.networks.running import seeded
from mnemonic.storage import cache_folder
from mnemonic.training import loop as training

QUICK = mn.Recipe(epochs=3, batch_size=16)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_learns_images_and_codes(learned):
    model, data, codes = learned
    assert mn.evaluate(model, data, [0]).accuracy > 90
    assert model(codes.images).argmax(1).tolist() == [0, 1, 2, 3]
    assert not model.training


def test_the_loop_is_plain_sgd(data):
    """The same steps, taken by hand from the definition of SGD with momentum."""
    recipe = mn.Recipe(epochs=2, batch_size=1000, schedule="cosine")
    model = mn.build_model("mlp", data, seed=0)
    by_hand = mn.build_model("mlp", data, seed=0)
    history = mn.train(model, data, recipe=recipe, progress=False)
    x, y = data.inputs(data.train), data.train.labels
    velocity = [torch.zeros_like(p) for p in by_hand.parameters()]
    losses = []
    for step in range(2):
        rate = 0.01 * 0.5 * (1 + math.cos(math.pi * step / 2))
        loss = nn.functional.cross_entropy(by_hand(x), y)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for p, g, v in zip(by_hand.parameters(), gradients, velocity, strict=True):
                v.mul_(0.9).add_(g + 5e-4 * p)
                p.sub_(rate * v)
    assert torch.allclose(weights(model), weights(by_hand), atol=1e-6)
    assert history.losses == pytest.approx(losses, rel=1e-5)


def test_another_loss_is_a_sum_over_images(data):
    """The squared error to one-hot targets, by hand; the last batch is a small one."""
    recipe = mn.Recipe(epochs=2, batch_size=100, momentum=0.0, weight_decay=0.0)
    model, by_hand = (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)) for _ in range(2))
    by_hand.load_state_dict(model.state_dict())
    seen = []

    def loss(network, inputs, labels, epoch):
        seen.append((inputs, labels, epoch))
        targets = nn.functional.one_hot(labels, 3)
        return (network(inputs) - targets).square().sum()

    history = mn.train(model, data, recipe=recipe, loss=loss, progress=False)
    assert [epoch for _, _, epoch in seen] == [0, 0, 1, 1]
    assert [len(x) for x, _, _ in seen] == [100, 8] * 2
    totals = [0.0, 0.0]
    for x, y, epoch in seen:
        errors = by_hand(x) - nn.functional.one_hot(y, 3)
        totals[epoch] += errors.square().sum().item()
        with torch.no_grad():
            by_hand[1].weight -= 0.01 * 2 * errors.T @ x.flatten(1) / len(x)
            by_hand[1].bias -= 0.01 * 2 * errors.sum(0) / len(x)
    assert torch.allclose(weights(model), weights(by_hand), atol=1e-5)
    assert history.losses == pytest.approx([t / 108 for t in totals], rel=1e-4)


def test_weights_may_join_later_under_another_loss(data):
    """A weight without a gradient stays, and decays from its first one on."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    bias, states = model[1].bias.detach().clone(), []

    def loss(network, inputs, labels, epoch):
        states.append(torch.equal(model[1].bias, bias))
        logits = network(inputs) if epoch else inputs.flatten(1) @ model[1].weight.T
        return nn.functional.cross_entropy(logits, labels, reduction="sum")

    recipe = mn.Recipe(epochs=3, batch_size=1000)
    mn.train(model, data, recipe=recipe, loss=loss, progress=False)
    assert states == [True, True, False]


def test_what_comes_after_each_step_may_change_the_weights(data):
    model, given = mn.build_model("mlp", data, seed=0), []

    def clip(network):
        given.append(network)
        with torch.no_grad():
            for p in network.parameters():
                p.clamp_(-0.01, 0.01)

    mn.train(model, data, recipe=QUICK, after_step=clip, progress=False)
    assert len(given) == 3 * math.ceil(108 / 16)
    assert all(network is model for network in given)
    assert weights(model).abs().max() <= 0.01


def test_the_training_engine_is_imported_when_first_used():
    assert not hasattr(mn.training, "Fabric")


def test_t_mix_of_one_shows_codes_only(data, codes):
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.inputs = nn.Linear(36, 3), []

        def forward(self, x):
            if self.training:
                self.inputs.append(x.detach())
            return self.inner(x.flatten(1))

    model = Seen()
    mn.train(model, data, recipe=QUICK, codes=codes, t_mix=1.0, progress=False)
    seen = torch.cat(model.inputs).unique(dim=0)
    assert torch.equal(seen, codes.images.unique(dim=0))


def test_the_same_seed_gives_the_same_bits(data, codes):
    def run(seed):
        model = mn.build_model("mlp", data, seed=0)
        torch.manual_seed(torch.randint(1000, ()).item())  # must not matter
        mn.train(
            model, data, recipe=QUICK, codes=codes, t_mix=0.5, seed=seed, progress=False
        )
        return weights(model)

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_test_and_validation_images_are_not_read(data, codes):
    class Forbidden:
        def __len__(self):
            raise AssertionError("read")

        labels = pixels = property(lambda self: 1 / 0)

        def to(self, device):
            return self

    blind = replace(data, validation=Forbidden())
    mn.train(
        mn.build_model("mlp", data),
        blind,
        recipe=QUICK,
        codes=codes,
        t_mix=0.1,
        progress=False,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t_mix": 1.5}, r"t_mix is 1\.5; .* in \[0, 1\]"),
        ({"t_mix": -0.1}, "t_mix is -0.1"),
        ({"t_mix": math.nan}, "t_mix is nan"),
        ({"t_mix": "0.1"}, "t_mix is '0.1'"),
        ({"t_mix": True}, "t_mix is True"),
        ({"seed": None}, "seed is None; give an integer"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"recipe": {"epochs": 3}}, "recipe is .*; give Recipe"),
        ({"codes": torch.rand(3, 1, 6, 6)}, "codes are a Tensor; give MnemonicCodes"),
        ({"codes": None}, "there are no codes"),
        ({"recipe": mn.Recipe(learning_rate=1e30, epochs=5)}, "diverged"),
    ],
)
def test_wrong_settings_are_refused(data, codes, changes, message):
    settings = {"recipe": QUICK, "codes": codes, "t_mix": 0.1, **changes}
    with pytest.raises(ValueError, match=message):
        mn.train(mn.build_model("mlp", data), data, **settings, progress=False)
    if message == "diverged":
        return
    with pytest.raises(ValueError, match=message):
        mn.trained(mn.build_model("mlp", data), data, **settings, progress=False)


@pytest.mark.parametrize("convert", [np.int64, np.float32, torch.tensor])
def test_numbers_of_numpy_and_torch_are_numbers(data, codes, convert):
    whole = int if convert is np.float32 else convert
    recipe = mn.Recipe(epochs=whole(1), learning_rate=convert(1), momentum=convert(0))
    assert recipe == mn.Recipe(epochs=1, learning_rate=1, momentum=0)
    given, plain = (mn.build_model("mlp", data) for _ in range(2))
    settings = {"codes": codes, "recipe": recipe, "progress": False}
    mn.trained(given, data, t_mix=convert(1), seed=whole(2), **settings)
    mn.trained(plain, data, t_mix=1, seed=2, **settings)
    assert torch.equal(weights(given), weights(plain))


class Detached(nn.Sequential):
    def forward(self, x):
        return super().forward(x).detach()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "the network is None; give a torch.nn.Module"),
        ("mlp", "the network is 'mlp'"),
        (nn.Flatten(), "no trainable weight"),
        (nn.Sequential(nn.Linear(6, 3).requires_grad_(False)), "no trainable weight"),
        (Detached(nn.Flatten(), nn.Linear(36, 3)), "cut off from its weights"),
    ],
)
@pytest.mark.parametrize("train", [mn.train, mn.trained])
def test_networks_that_cannot_learn_are_refused(data, train, model, message):
    with pytest.raises(ValueError, match=message):
        train(model, data, recipe=QUICK, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.fill_(torch.nan), "not one finite code"),
        (lambda x: x.double(), r"codes.to\(torch.float32\)"),
    ],
)
def test_wrong_codes_are_not_blamed_on_the_training(data, codes, change, message):
    with pytest.raises(ValueError, match=message):  # noqa: PT012
        wrong = replace(codes, images=codes.images.clone())
        object.__setattr__(wrong, "images", change(wrong.images))
        mn.train(mn.build_model("mlp", data), data, codes=wrong, t_mix=0.1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", True),
        ("learning_rate", None),
        ("learning_rate", "x"),
        ("learning_rate", True),
        ("batch_size", 0),
        ("learning_rate", -1),
        ("momentum", math.nan),
        ("weight_decay", math.inf),
        ("schedule", "step"),
    ],
)
def test_wrong_recipes_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        mn.Recipe(**{field: value})


def test_network_for_other_data_is_refused(data):
    with pytest.raises(ValueError, match="where logits"):
        mn.train(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), data, progress=False)


# --- the cache ---------------------------------------------------------------------


def fetch(data, drawn, monkeypatch, *, expect_training, **changes):
    calls = []
    real = checkpoints.train

    def counted(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(checkpoints, "train", counted)
    settings = {
        "recipe": QUICK, "codes": drawn, "t_mix": 0.2, "seed": 0, **changes,
    }  # fmt: skip
    model = mn.build_model("mlp", data, seed=settings.pop("init", 0))
    model = mn.trained(model, data, **settings, progress=False)
    monkeypatch.setattr(checkpoints, "train", real)
    assert bool(calls) == expect_training
    return weights(model)


def test_trained_once_for_the_same_content(data, codes, monkeypatch):
    first = fetch(data, codes, monkeypatch, expect_training=True)
    assert torch.equal(fetch(data, codes, monkeypatch, expect_training=False), first)
    other_codes = mn.MnemonicCodes.draw(data, seed=5)
    for changes in (
        {"seed": 1},
        {"init": 1},
        {"t_mix": 0.3},
        {"recipe": mn.Recipe(epochs=4, batch_size=16)},
        {"codes": other_codes},
    ):
        other = fetch(data, codes, monkeypatch, expect_training=True, **changes)
        assert not torch.equal(other, first)
    fetch(data.without([2]), codes, monkeypatch, expect_training=True)
    monkeypatch.setattr(checkpoints, "code_digest", lambda files: "edited")
    fetch(data, codes, monkeypatch, expect_training=True)


def test_codes_that_are_not_used_do_not_count(data, codes, monkeypatch):
    first = fetch(data, codes, monkeypatch, expect_training=True, t_mix=0.0)
    same = fetch(data, None, monkeypatch, expect_training=False, t_mix=0.0)
    assert torch.equal(same, first)


def test_a_checkpoint_depends_on_the_code_of_training_and_network(data):
    def files(name):
        return {f.name for f in reached([f"mnemonic.{name}"])}

    assert files("training.loop") > {
        "storage.py",
        "asked.py",
        "layers.py",
        "running.py",
        "arrays.py",
        "codes.py",
    }
    assert "models.py" in files("models.SlimResNet") - files("training.loop")

    def network(power):
        source = f"def forward(self, x): return x**{power}"
        space = {"__name__": __name__}
        exec(source, space)
        return type("Net", (nn.Module,), space)()

    one, two = network(1), network(2)
    assert str(one) == str(two)
    assert contents(one) == contents(network(1))
    assert contents(one) != contents(two)


def test_the_history_is_given_where_it_is_asked_for(data):
    def fetch():
        model = mn.build_model("mlp", data, seed=0)
        return mn.trained(model, data, recipe=QUICK, progress=False, with_history=True)

    (model, made), (again, kept) = fetch(), fetch()
    assert torch.equal(weights(again), weights(model))
    assert kept == made
    losses = mn.train(
        mn.build_model("mlp", data, seed=0), data, recipe=QUICK, progress=False
    ).losses
    assert made.losses == losses


@pytest.mark.parametrize("damage", ["empty", "truncated", "foreign", "other network"])
def test_damaged_checkpoint_is_made_again(data, codes, monkeypatch, damage):
    first = fetch(data, codes, monkeypatch, expect_training=True)
    (path,) = (cache_folder() / "checkpoints").glob("*.safetensors")
    whole = path.read_bytes()
    if damage == "other network":
        save_file({"weight": torch.zeros(2)}, path)
    else:
        content = {"empty": b"", "truncated": whole[:-7], "foreign": b"\x80\x04K\x01."}
        path.write_bytes(content[damage])
    with pytest.warns(RuntimeWarning, match="is damaged .* will be made again"):
        again = fetch(data, codes, monkeypatch, expect_training=True)
    assert torch.equal(again, first)
    assert path.with_name(path.name + ".damaged").exists()


def test_interrupted_training_leaves_no_checkpoint(data, codes, monkeypatch):
    def interrupt(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(mn.MnemonicCodes, "substitute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(data, codes, monkeypatch, expect_training=True)
    assert not list((cache_folder() / "checkpoints").glob("*.safetensors"))


class Choosing(nn.Module):
    """What its attributes say is neither in its weights nor in its description."""

    def __init__(self, act):
        super().__init__()
        self.first, self.last, self.act = nn.Linear(36, 8), nn.Linear(8, 3), act

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(1))))


def test_another_forward_or_other_frozen_layers_are_another_training(data):
    def done(act=torch.relu, frozen=False):
        with seeded(0):
            model = Choosing(act)
        model.first.requires_grad_(not frozen)
        fresh = model.first.weight.detach().clone()
        model = mn.trained(model, data, recipe=QUICK, progress=False)
        return model.first.weight.detach(), fresh

    plain, fresh = done()
    assert torch.equal(done()[0], plain)
    assert not torch.equal(done(torch.sigmoid)[0], plain)
    assert torch.equal(done(frozen=True)[0], fresh)


def test_one_cycle_goes_up_and_down():
    recipe = mn.Recipe(learning_rate=0.8, schedule="one-cycle")
    rates = [recipe.rate_at(done) for done in (0, 0.125, 0.25, 0.625, 1)]
    assert rates == pytest.approx([0, 0.4, 0.8, 0.4, 0])


def with_all_kinds_of_state(data):
    """Convolution and dropout, BatchNorm's averages, and weights with momentum."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(4 * 4 * 4, data.n_classes),
    )


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 2, 4])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(
    data, codes, monkeypatch, after, momentum
):
    monkeypatch.setattr(training, "KEPT_EVERY", 0)
    recipe = mn.Recipe(5, 16, momentum=momentum, schedule="one-cycle")
    how = {"codes": codes, "t_mix": 0.3, "recipe": recipe, "progress": False}
    undisturbed = with_all_kinds_of_state(data)
    history = mn.train(undisturbed, data, **how)
    states = []

    def keep(state):
        states.append(state)
        if len(states) == after:
            raise Killed

    with pytest.raises(Killed):
        mn.train(with_all_kinds_of_state(data), data, keep=keep, **how)
    again = with_all_kinds_of_state(data)
    kept = mn.train(again, data, resume=states[-1], **how)
    for one, two in zip(
        undisturbed.state_dict().values(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two)
    assert kept.losses == history.losses


def test_a_checkpoint_goes_on_at_the_last_epoch(data, monkeypatch):
    monkeypatch.setattr(training, "KEPT_EVERY", 0)
    recipe = mn.Recipe(epochs=4, batch_size=16)
    undisturbed = mn.build_model("mlp", data, seed=0)
    mn.train(undisturbed, data, recipe=recipe, progress=False)
    epochs, plain = [], training.summed_cross_entropy

    def killing(model, inputs, labels, epoch):
        epochs.append(epoch)
        if epoch == 2 and len(set(epochs)) == 3 and len(epochs) < 100:
            raise Killed
        return plain(model, inputs, labels, epoch)

    monkeypatch.setattr(checkpoints, "train", partial(mn.train, loss=killing))
    with pytest.raises(Killed):
        mn.trained(mn.build_model("mlp", data, seed=0), data, recipe=recipe)
    folder = cache_folder() / "checkpoints"
    assert [p.suffix for p in folder.iterdir() if p.suffix != ".lock"] == [".epoch"]
    begun = []

    def watched(model, inputs, labels, epoch):
        begun.append(epoch)
        return plain(model, inputs, labels, epoch)

    monkeypatch.setattr(checkpoints, "train", partial(mn.train, loss=watched))
    again = mn.trained(mn.build_model("mlp", data, seed=0), data, recipe=recipe)
    assert set(begun) == {2, 3}
    assert torch.allclose(weights(again), weights(undisturbed), atol=1e-6)
    assert not list(folder.glob("*.epoch"))


def test_bfloat16_learns_and_keeps_its_weights_in_float32(data):
    recipe = mn.Recipe(epochs=30, batch_size=16, learning_rate=0.05, precision="bf16")
    model = with_all_kinds_of_state(data)
    mn.train(model, data, recipe=recipe, progress=False)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert mn.evaluate(model, data, [0]).accuracy > 80


def test_frozen_layers_keep_their_statistics(data):
    """Whoever trains the last layer alone gets the body that was there."""
    model = with_all_kinds_of_state(data)
    model[:2].requires_grad_(False)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    mn.train(model, data, recipe=QUICK, progress=False)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {"4.weight", "4.bias"}
    free = with_all_kinds_of_state(data)
    mn.train(free, data, recipe=QUICK, progress=False)
    assert not torch.equal(free[1].running_mean, before["1.running_mean"])
