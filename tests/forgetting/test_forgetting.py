import copy
import dataclasses
import itertools
import math
import warnings
from functools import partial

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

import mnemonic as mn
from mnemonic.fisher import chunks
from mnemonic.forgetting import choice
from mnemonic.forgetting.choice import best_row
from mnemonic.forgetting.strengths import GRID, Perturbation


def perturbed(model, eta, scales, sign):
    """Weights w ± α_l η, by name."""
    step = Perturbation(model, eta)
    step.move({name: sign * alpha for name, alpha in scales.items()})
    weights = step.network.named_parameters()
    return {name: w.detach() for name, w in weights if name in eta}


def try_strengths(model, x, y, classes, eta, *settings, **how):
    return choice.try_strengths(
        Perturbation(model, eta), x, y, classes, *settings, **how
    )


def choose_strength(*given_all):
    return best_row(try_strengths(*given_all, give_up=True))


def by_hand(model, codes, classes, lambda1, lambda2, sign):
    """Eq. 4-7 in plain loops over the weights."""
    parameters = list(model.parameters())
    squares = []
    for c in range(len(codes.images)):
        logits = model(codes.images[c : c + 1])
        loss = functional.cross_entropy(logits, torch.tensor([c]))
        gradients = torch.autograd.grad(loss, parameters)
        squares.append([[v**2 for v in g.flatten().tolist()] for g in gradients])
    kept = [c for c in range(len(codes.images)) if c not in classes]
    moved = []
    for layer, parameter in enumerate(parameters):
        eta = []
        for i in range(parameter.numel()):
            f_forget = sum(squares[c][layer][i] for c in classes) / len(classes)
            f_remain = sum(squares[c][layer][i] for c in kept) / len(kept)
            eta.append((f_forget + 1e-30) / (f_remain + 1e-30))
        alpha = min(lambda1, lambda2 / max(eta))
        old = parameter.detach().flatten().tolist()
        moved.append([w + sign * alpha * e for w, e in zip(old, eta, strict=True)])
    return moved


@pytest.mark.parametrize("classes", [[0], [2], [0, 2]])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("lambda1", "lambda2"), [(1e-2, 1e3), (1.0, 0.5)])
def test_weights_move_by_equations_5_to_7(tiny, codes, classes, sign, lambda1, lambda2):
    tiny = tiny.double()
    codes = codes.to(torch.float64)
    expected = by_hand(tiny, codes, classes, lambda1, lambda2, sign)
    moved = perturbed(
        tiny,
        eta := mn.amplitude(tiny, codes, classes),
        mn.step_scales(eta, mn.Strength(lambda1, lambda2)),
        sign,
    )
    for values, new in zip(expected, moved.values(), strict=True):
        assert torch.allclose(
            new.flatten(), torch.tensor(values, dtype=torch.float64), rtol=1e-9
        )


def test_forget_returns_the_perturbed_network(learned):
    learned, _, codes = learned
    strength = mn.Strength(1e-2, 0.1)
    result = mn.forget(learned, codes, [1], strength=strength, sign=-1, candidates=True)
    eta = mn.amplitude(learned, codes, [1])
    moved = perturbed(learned, eta, mn.step_scales(eta, strength), -1)
    for name, parameter in result.model.named_parameters():
        assert torch.equal(parameter, moved[name])
    assert (*result.settings.values(), result.classes) == (strength, -1, (1,))
    assert len(result.candidates) == 1
    assert result.seconds > 0


def test_codes_choose_what_forgets(learned):
    learned, data, codes = learned
    for c in (0, 3):
        result = mn.forget(learned, codes, [c], candidates=True)
        assert result.forgets_codes
        assert mn.forget(learned, codes, [c]).settings == result.settings
        before = mn.evaluate(learned, data, [c])
        after = mn.evaluate(result.model, data, [c])
        assert after.forgetting_error > 90
        assert after.remaining_accuracy > before.remaining_accuracy - 2
        answers = result.model(codes.images).argmax(1)
        right = answers == codes.labels
        assert not right[c]
        assert right.sum() == 3
        strength, sign = result.settings.values()
        used = pd.Series(vars(strength) | {"sign": sign})
        rows = result.candidates
        best = rows[(rows[used.index] == used).all(axis=1)].iloc[0]
        total = result.candidates.eval("remaining_accuracy + forgetting_error")
        assert best.remaining_accuracy + best.forgetting_error == total.max()
        tied = rows[(total == total.max()) & rows["spares"]]
        assert best.spares
        assert best.length == tied["length"][tied["depth"] >= choice.REACH].min()
        moves = zip(learned.parameters(), result.model.parameters(), strict=True)
        moved = torch.cat([(b - a).detach().flatten() for a, b in moves])
        assert float(moved.norm()) == pytest.approx(best.length, rel=1e-3)
        assert result.depth == best.depth
        assert len(result.candidates) == 2 * len(GRID) == 98


def test_candidates_are_scored_like_networks(learned):
    """Each row equals what a copy of the network with these weights does."""
    learned, _, codes = learned
    eta = mn.amplitude(learned, codes, [2])
    with torch.no_grad():
        before = learned(codes.images).double().log_softmax(1)
    chosen = [GRID[i] for i in (0, 17, 24, 31, 48)]
    for row in try_strengths(
        learned, codes.images, codes.labels, [2], eta, chosen, (1, -1)
    ):
        copied = copy.deepcopy(learned)
        scales = mn.step_scales(eta, mn.Strength(row["lambda1"], row["lambda2"]))
        with torch.no_grad():
            for name, p in copied.named_parameters():
                p += (row["sign"] * scales[name] * eta[name]).float()
            log_p = copied(codes.images).double().log_softmax(1)
            answers = copied(codes.images).argmax(1)
        right = (answers == codes.labels).tolist()
        kept = [0, 1, 3]
        expected = 100 * sum(right[c] for c in kept) / 3
        assert row["remaining_accuracy"] == pytest.approx(expected)
        assert row["forgetting_error"] == 100 * (not right[2])
        loss = -log_p.diagonal()[kept].mean().item()
        assert row["remaining_loss"] == pytest.approx(loss, rel=1e-3, abs=1e-5)
        above = before[2, 2] - before[2, kept].max()
        below = log_p[2, kept].max() - log_p[2, 2]
        assert row["depth"] == pytest.approx(float(below / above), rel=1e-3)
        was = -before.diagonal()[kept].mean().item()
        assert row["spares"] == (row["remaining_loss"] <= 1.5 * was + 0.02)


def chosen_by_hand(model, codes, c):
    """Every setting tried to the end, one by one."""
    step = Perturbation(model, eta := mn.amplitude(model, codes, [c]))
    best = None
    for strength, sign in itertools.product(GRID, (1, -1)):
        scales = mn.step_scales(eta, strength)
        step.move({name: sign * alpha for name, alpha in scales.items()})
        rank = scored_by_hand(step, model, eta, codes.images, codes.labels, [c])
        if best is None or rank > best[0]:
            best = rank, strength, sign
    return best[1:]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["learned", "slim-resnet"])
def test_the_choice_is_that_of_networks_perturbed_one_by_one(name, learned):
    model, data, codes = learned
    classes = range(4)
    if name == "slim-resnet":
        model, classes = mn.build_model(name, data, seed=0).eval(), [2]
    for c in classes:
        result = mn.forget(model, codes, [c])
        assert tuple(result.settings.values()) == chosen_by_hand(model, codes, c)


def scored_by_hand(step, original, eta, x, y, classes):
    """Rank of one setting, by loops over the codes in float64."""
    with torch.no_grad():
        both = [network(x).double() for network in (original, step.network)]
    if not both[1].isfinite().all():
        return (-math.inf,)
    margins, losses, wrong = [], [], {True: [], False: []}
    for logits in both:
        margin, loss = [], []
        for row, c in zip(logits, y.tolist(), strict=True):
            if c in classes:
                rival = max(v for k, v in enumerate(row.tolist()) if k != c)
                margin.append(float(row[c]) - rival)
            else:
                loss.append(-float(row.log_softmax(0)[c]))
            if logits is both[1]:
                wrong[c in classes].append(int(row.argmax()) != c)
        margins.append(max(margin))
        losses.append(sum(loss) / len(loss))
    lost, forgotten = (sum(wrong[side]) / len(wrong[side]) for side in (False, True))
    spares = losses[1] <= 1.5 * losses[0] + 0.02
    depth = -margins[1] / max(margins[0], 1)
    length = sum((step.alphas[n] ** 2 * eta[n] ** 2).sum().item() for n in eta) ** 0.5
    return round(100 - 100 * lost + 100 * forgotten, 9), spares, min(depth, 2), -length


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(2, 6),
    copies=st.integers(1, 4),
    scale=st.sampled_from([0.1, 1.0, 3.0, 30.0]),
    apart=st.sampled_from([0, 6, 20]),  # decades between amplitudes
    data=st.data(),
)
def test_the_choice_gives_up_no_setting_that_would_win(
    seed, k, copies, scale, apart, data
):
    generator = torch.Generator().manual_seed(seed)
    classes = data.draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k - 1,
                                 unique=True))  # fmt: skip
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, k)
    ).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=generator))
    x = torch.rand(k * copies, 1, 3, 3, generator=generator)
    y = torch.arange(k * copies) % k
    if data.draw(st.booleans()):  # most of them known, as after training
        with torch.no_grad():
            hidden = model[:3](x[:k])
            model[3].weight.copy_(scale * hidden)
            model[3].bias.copy_(-scale * hidden.square().sum(1) / 2)
    eta = {
        n: 10 ** (apart * (torch.rand(p.shape, generator=generator).double() - 0.5))
        for n, p in model.named_parameters()
    }
    some = data.draw(st.lists(st.sampled_from(GRID), min_size=1, max_size=25))
    signs = data.draw(st.sampled_from([(1, -1), (1,), (-1,)]))
    given_all = model, x, y, classes, eta, some, signs
    rows = try_strengths(*given_all)
    if not any(math.isfinite(row["remaining_loss"]) for row in rows):
        with pytest.raises(ValueError, match="every setting tried"):
            choose_strength(*given_all)
        return
    chosen = choose_strength(*given_all)
    assert chosen == best_row(rows)
    ranks, step = {}, Perturbation(model, eta)
    for strength, sign in itertools.product(some, signs):
        step.move(step.scaled(strength, sign))
        rank = scored_by_hand(step, model, eta, x, y, classes)
        ranks[strength.lambda1, strength.lambda2, sign] = rank
    score, *rest = ranks[chosen["lambda1"], chosen["lambda2"], chosen["sign"]]
    best_score, *best_rest = max(ranks.values())
    if score != best_score:  # a logit within rounding of another one
        mine = round(chosen["remaining_accuracy"] + chosen["forgetting_error"], 9)
        assert mine >= best_score
    else:
        assert rest == pytest.approx(best_rest, rel=1e-4, abs=1e-5)


def test_the_choice_spares_most_codes(learned, monkeypatch):
    model, _, codes = learned
    eta = mn.amplitude(model, codes, [1])
    given_all = model, codes.images, codes.labels, [1], eta, GRID, (1, -1)
    seen, inner = [], choice._code_sums

    def noted(*given):
        seen.append(len(given[-1]))
        return inner(*given)

    monkeypatch.setattr(choice, "_code_sums", noted)
    rows = try_strengths(*given_all)
    every = sum(seen)
    seen.clear()
    assert choose_strength(*given_all) == best_row(rows)
    assert sum(seen) < 0.7 * every


def test_only_the_layers_named_move(learned):
    model, _, codes = learned
    head = [n for n, _ in model.named_parameters()][-2:]
    last = mn.forget(model, codes, [1], layers="last")
    named = mn.forget(model, codes, [1], layers=head)
    for name, old in model.named_parameters():
        moved = dict(last.model.named_parameters())[name]
        assert torch.equal(moved, dict(named.model.named_parameters())[name])
        assert torch.equal(moved, old) == (name not in head)
    assert list(last.layers["layer"]) == head
    assert last.forgets_codes
    frozen = copy.deepcopy(model)
    for name, p in frozen.named_parameters():
        p.requires_grad_(name in head)
    assert mn.forget(frozen, codes, [1]).settings == last.settings
    for layers in ("first", ["9.weight"], [], ["1", "none"]):
        with pytest.raises(ValueError, match="nothing that moves in it"):
            mn.forget(model, codes, [1], layers=layers)


@pytest.mark.filterwarnings("ignore:no setting tried forgets")
def test_a_judge_chooses_in_place_of_the_codes(learned):
    model, data, codes = learned
    judge = data.inputs(data.validation), data.validation.labels
    result = mn.forget(model, codes, [1], judge=judge)

    def score(network):
        found = mn.evaluate(network, data, [1], split="validation")
        return found.remaining_accuracy + found.forgetting_error

    made = [
        mn.forget(model, codes, [1], strength=strength, sign=sign).model
        for strength, sign in itertools.product(GRID[::4], (1, -1))
    ]
    assert score(result.model) >= max(map(score, made))
    again = mn.forget(model, codes, [1], **result.settings)
    for a, b in zip(again.model.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again.forgets_codes == result.forgets_codes
    own = codes.images, codes.labels
    same = mn.forget(model, codes, [1], judge=own).settings
    assert same == mn.forget(model, codes, [1]).settings
    for wrong, told in (
        (codes, "give \\(inputs, labels\\)"),
        ((judge[0], judge[1][:-1]), "one label for each"),
        ((judge[0][judge[1] != 1], judge[1][judge[1] != 1]), "at least one of them"),
    ):
        with pytest.raises(ValueError, match=told):
            mn.forget(model, codes, [1], judge=wrong)
    with pytest.raises(ValueError, match="judge and candidates are of rule"):
        mn.forget(model, codes, [1], rule="turn", judge=judge)


def test_a_choice_that_may_leave_images_is_said():
    """A code that can be pushed no further than just below another."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False), nn.Tanh())
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(2, 4))
    images = torch.eye(2, 4).reshape(2, 1, 2, 2)
    codes = mn.MnemonicCodes(images, ("a", "b"), 0, "uniform")
    with pytest.warns(RuntimeWarning, match="images of these classes may"):
        result = mn.forget(model, codes, [0])
    assert result.forgets_codes
    assert 0 < result.depth < choice.SHALLOW


def test_candidates_are_given_to_who_asks(learned):
    model, _, codes = learned
    assert mn.forget(model, codes, [1]).candidates is None
    result = mn.forget(model, codes, [1], candidates=True)
    assert len(result.candidates) == 2 * len(GRID)


@pytest.mark.parametrize("free", [1, 20_000, 10**9])
def test_codes_are_scored_in_chunks(learned, free, monkeypatch):
    """Whatever fits, and whatever is refused, the scores are the same."""
    model, data, _ = learned
    x, y = data.images(data.train)[:40], data.train.labels[:40]
    eta = {n: torch.rand_like(p).double() for n, p in model.named_parameters()}
    given_all = model, x, y, [1, 2], eta, GRID[20:30], (1, -1)
    whole, sizes, inner = try_strengths(*given_all), [], choice._code_sums

    def small(*given):
        sizes.append(len(given[-1]))
        if len(given[-1]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(*given)

    monkeypatch.setattr(choice, "_code_sums", small)
    monkeypatch.setattr(chunks, "SMALL_BYTES", 0)
    monkeypatch.setattr(chunks, "free_bytes", lambda _: free)
    for row, expected in zip(try_strengths(*given_all), whole, strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert (max(sizes) == 1) == (free == 1)
    assert (max(sizes) > 6) == (free == 10**9)


class Versioned(nn.Linear):
    """Refuses a state dict without its version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state, prefix, metadata, *others):
        if metadata.get("version") != 2:
            raise ValueError(f"version is {metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, metadata, *others)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_layers_that_want_their_version_are_kept(codes):
    model = nn.Sequential(nn.Flatten(), Versioned(36, 3)).eval()
    strength = mn.Strength(1e-2, 1.0)
    result = mn.forget(model, codes, [0], strength=strength, sign=1)
    eta = mn.amplitude(model, codes, [0])
    moved = perturbed(model, eta, mn.step_scales(eta, strength), 1)
    for name, weights in result.model.named_parameters():
        assert torch.equal(weights, moved[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_forgets_as_well_as_single(learned, dtype):
    model, data, codes = learned
    single = mn.evaluate(mn.forget(model, codes, [0]).model, data, [0])
    half = copy.deepcopy(model).to(dtype)
    half[3].bias.requires_grad_(False)
    result = mn.forget(half, codes.to(dtype), [0])
    assert result.forgets_codes
    assert {p.dtype for p in result.model.parameters()} == {dtype}
    assert torch.equal(result.model[3].bias, half[3].bias)
    scores = mn.evaluate(result.model, data, [0])
    assert scores.forgetting_error == single.forgetting_error == 100
    assert scores.remaining_accuracy > single.remaining_accuracy - 3


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", [2, 28])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_network_returned_is_the_one_described(seed, sign):
    """Close to the strength that tips a code over, where rounding decides."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 1, 2, 2, generator=generator).half()
    codes = mn.MnemonicCodes(images, tuple("abc"), 0, "uniform")
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    too_weak, too_strong = 1e-4, 10.0
    for _ in range(22):
        lambda1 = math.sqrt(too_weak * too_strong)
        strength = mn.Strength(lambda1, 1e5)
        result = mn.forget(model.half(), codes, [0], strength=strength, sign=sign)
        forgets = bool(result.model(images[:1]).argmax(1) != 0)
        assert result.forgets_codes == forgets
        if forgets:
            too_strong = lambda1
        else:
            too_weak = lambda1


def test_steps_that_float16_cannot_hold_are_scored_as_infinite(tiny, codes):
    model, x = tiny.half(), codes.images.half()
    eta = {n: torch.ones(p.shape).double() for n, p in model.named_parameters()}
    eta["3.bias"][0] = 1e6
    rows = try_strengths(model, x, codes.labels, [1], eta, GRID, (1, -1))
    for row in rows:
        scales = mn.step_scales(eta, mn.Strength(row["lambda1"], row["lambda2"]))
        moved = perturbed(model, eta, scales, row["sign"])
        wide = {name: w.half().float() for name, w in moved.items()}
        logits = torch.func.functional_call(model, wide, (x.float(),))
        assert math.isfinite(row["remaining_loss"]) == bool(logits.isfinite().all())
    assert {math.isfinite(row["remaining_loss"]) for row in rows} == {True, False}


class OnApple(torch.Tensor):
    """Held by an Apple GPU, as ``Apple`` plays it."""

    def __deepcopy__(self, memo):
        copied = self.detach().clone()
        return nn.Parameter(copied) if self.requires_grad else copied


class Apple(TorchFunctionMode):
    """Device "mps", played by the CPU: no float64, nor other devices' tensors."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        leaves = tree_leaves((args, kwargs))
        there = [isinstance(t, OnApple) for t in leaves if isinstance(t, torch.Tensor)]
        if func == torch.Tensor.device.__get__ and any(there):
            return torch.device("mps")
        if any(there) and not all(there):
            raise RuntimeError(f"{func}: tensors on two devices")
        named = [t for t in leaves if isinstance(t, torch.device)]
        if func is torch.Tensor.cpu:
            named = [torch.device("cpu")]
        on_apple = named[0].type == "mps" if named else any(there)

        def played(value):
            return torch.device("cpu") if isinstance(value, torch.device) else value

        def placed(value):
            if not isinstance(value, torch.Tensor):
                return value
            if on_apple and value.dtype == torch.float64:
                raise TypeError(f"{func}: Apple's GPUs know no float64")
            if isinstance(value, OnApple) == on_apple:
                return value
            return value.as_subclass(OnApple if on_apple else torch.Tensor)

        args, kwargs = tree_map(played, (args, kwargs))
        return tree_map(placed, func(*args, **kwargs))


def test_apple_gpus_leave_float64_to_the_cpu(learned):
    model, _, codes = learned
    how = {"strength": mn.Strength(1e-2, 0.1), "candidates": True}
    expected = mn.forget(model, codes, [1], **how)
    eta = mn.amplitude(model, codes, [1])
    there = copy.deepcopy(model)
    for layer in there:
        for name, p in list(layer.named_parameters()):
            setattr(layer, name, nn.Parameter(p.detach().as_subclass(OnApple)))
    with Apple():
        with pytest.raises(TypeError, match="no float64"):
            there[1].weight.double()
        with pytest.raises(RuntimeError, match="two devices"):
            there[1].weight + model[1].weight
        result = mn.forget(there, codes, [1], **how)
        candidates, amplitudes = result.candidates, mn.amplitude(there, codes, [1])
        assert all(p.device.type == "mps" for p in result.model.parameters())
        weights = [p.detach().cpu() for p in result.model.parameters()]
    assert all(v.dtype == torch.float64 for v in amplitudes.values())
    torch.testing.assert_close(amplitudes, eta, rtol=1e-3, atol=1e-6)
    known = [p.detach() for p in expected.model.parameters()]
    torch.testing.assert_close(weights, known)
    same = partial(pd.testing.assert_frame_equal, rtol=1e-3, atol=1e-6)
    same(candidates, expected.candidates)
    same(result.layers, expected.layers)


def test_given_network_and_codes_are_untouched(data, codes):
    model = mn.build_model("slim-resnet", data, seed=0).train()
    before = copy.deepcopy(model.state_dict())
    images = codes.images.clone()
    with warnings.catch_warnings():  # an untrained network
        warnings.simplefilter("ignore", RuntimeWarning)
        result = mn.forget(model, codes, [0], strength=mn.Strength(1e-3, 1.0))
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(codes.images, images)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    for name, value in result.model.named_buffers():  # BatchNorm's statistics
        assert torch.equal(value, before[name])
    assert any(
        not torch.equal(value, before[name])
        for name, value in result.model.named_parameters()
    )


@settings(max_examples=20, deadline=None)
@given(
    st.floats(1e-6, 1.0),
    st.floats(0.1, 1e5),
    st.sets(st.integers(0, 4), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_lambda2_caps_every_step_and_lambda1_every_scale(l1, l2, classes, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 5))
        codes = mn.MnemonicCodes(
            torch.rand(5, 1, 3, 3), tuple("abcde"), seed, "uniform"
        )
    eta = mn.amplitude(model, codes, sorted(classes))
    scales = mn.step_scales(eta, mn.Strength(l1, l2))
    for name, values in eta.items():
        assert torch.isfinite(values).all()
        assert (values > 0).all()
        assert scales[name] <= l1
        assert (scales[name] * values).max() <= l2 * (1 + 1e-9)
        # one of the two caps is reached
        reached = scales[name] == l1 or math.isclose(
            (scales[name] * values).max().item(), l2, rel_tol=1e-9
        )
        assert reached


def test_weights_that_nothing_depends_on_count_as_ratio_one(codes):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[1].weight[0] = -1.0  # never active on codes in [0, 1]
        model[1].bias[0] = -1.0
    eta = mn.amplitude(model, codes, [0])
    assert (eta["1.weight"][0] == 1).all()
    assert eta["1.bias"][0] == 1


def test_frozen_weights_stay(learned):
    learned, _, codes = learned
    learned[1].requires_grad_(False)
    result = mn.forget(learned, codes, [0], strength=mn.Strength(1e-2, 1.0))
    assert torch.equal(result.model[1].weight, learned[1].weight)
    assert not torch.equal(result.model[3].weight, learned[3].weight)
    assert list(result.layers["layer"]) == ["3.weight", "3.bias"]


@pytest.mark.filterwarnings("ignore:the network does not know the codes")
def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(9, 9)
            self.b = nn.Linear(9, 9)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.tanh(self.a(x.flatten(1))))

    torch.manual_seed(0)
    codes = mn.MnemonicCodes(torch.rand(9, 1, 3, 3), tuple("abcdefghi"), 0, "uniform")
    model = Tied()
    result = mn.forget(model, codes, [0], strength=mn.Strength(1e-3, 1.0), sign=1)
    assert result.model.a.weight is result.model.b.weight
    assert result.model.a.weight is not model.a.weight
    eta = mn.amplitude(model, codes, [0])
    scales = mn.step_scales(eta, mn.Strength(1e-3, 1.0))
    moved = perturbed(model, eta, scales, 1)
    logits = torch.func.functional_call(model, moved, (codes.images,))
    assert torch.allclose(result.model(codes.images), logits)


def test_report_says_what_moved(learned):
    learned, _, codes = learned
    result = mn.forget(learned, codes, [0], strength=mn.Strength(1e-2, 0.2), sign=-1)
    old = dict(learned.named_parameters())
    for row in result.layers.itertuples():
        step = (dict(result.model.named_parameters())[row.layer] - old[row.layer]).abs()
        assert row.weights == step.numel()
        assert row.largest_step == step.max().item() <= 0.2 * (1 + 1e-5)
        few = step.flatten()[:: -(-step.numel() // 10_000)]
        assert row.median_step == few.median().item()
        assert row.share_moved == pytest.approx((step > 0).double().mean().item())
        assert 0 < row.alpha <= 1e-2


def test_several_classes_at_once(learned):
    learned, _, codes = learned
    result = mn.forget(learned, codes, [2, 0])
    assert result.classes == (0, 2)
    answers = result.model(codes.images).argmax(1)
    assert answers[0] != 0
    assert answers[2] != 2


def test_no_setting_that_forgets_is_said(data, codes):
    constant = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with torch.no_grad():
        constant[1].weight.zero_()
        constant[1].bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
    constant[1].bias.requires_grad_(False)
    with pytest.warns(RuntimeWarning, match=r"no setting tried forgets \[0\]"):
        result = mn.forget(constant, codes, [0], strength=mn.Strength(1e-6, 1e-1))
    assert not result.forgets_codes


def test_outputs_that_overflow_are_no_forgetting():
    rows = [
        {
            "remaining_accuracy": 100.0,
            "forgetting_error": 100.0,
            "remaining_loss": math.inf,
            "spares": False,
            "depth": math.nan,
            "length": 1.0,
        },
        {
            "remaining_accuracy": 50.0,
            "forgetting_error": 0.0,
            "remaining_loss": 1.0,
            "spares": True,
            "depth": -1.0,
            "length": 1.0,
        },
    ]
    assert best_row(rows) is rows[1]
    with pytest.raises(ValueError, match="give a smaller strength"):
        best_row(rows[:1])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "0 of 3 classes"),
        ([0, 1, 2], "3 of 3 classes"),
        ([3], r"class 3 is not in 0\.\.2"),
        ([-1], r"class -1 is not in 0\.\.2"),
        ([0.5], r"class 0\.5 is not in"),
        ([1, 1], "repeat one"),
        (None, r"forget classes are None; give a list .* \[3\]"),
        (1, "forget classes are 1; give a list"),
        ("12", "forget classes are '12'; give a list"),
        ([None], "class None is not in"),
        ([math.inf], "class inf is not in"),
        ([math.nan], "class nan is not in"),
        ([True], "class True is not in"),
    ],
)
def test_wrong_forget_sets_are_refused(tiny, codes, classes, message):
    with pytest.raises(ValueError, match=message):
        mn.forget(tiny, codes, classes)
    with pytest.raises(ValueError, match=message):
        mn.amplitude(tiny, codes, classes)


@pytest.mark.parametrize(
    "value", [0, -1e-3, math.nan, math.inf, None, "1e-3", True, 10**400]
)
@pytest.mark.parametrize("name", ["lambda1", "lambda2"])
def test_wrong_strengths_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; give a finite number above 0"):
        mn.Strength(**{"lambda1": 1.0, "lambda2": 1.0, name: value})


@pytest.mark.filterwarnings("ignore:the network does not know the codes")
def test_wrong_networks_are_refused(tiny, codes):
    with pytest.raises(ValueError, match="sign is 0"):
        mn.forget(tiny, codes, [0], sign=0)
    with pytest.raises(ValueError, match="sign is True"):
        mn.forget(tiny, codes, [0], sign=True)
    for strength in (0, [], (1e-3, 10.0)):
        with pytest.raises(ValueError, match=r"strength is .*; give Strength\(lambda1"):
            mn.forget(tiny, codes, [0], strength=strength)
    with pytest.raises(ValueError, match=r"codes of 3 classes .* with 4 outputs"):
        mn.forget(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), codes, [0])
    for network in (None, "mlp", lambda x: x):
        with pytest.raises(ValueError, match=r"the network is .*; give a torch.nn.Mod"):
            mn.forget(network, codes, [0])
    for other in (codes.images, "codes", None):
        with pytest.raises(ValueError, match=r"codes are a .*; give MnemonicCodes"):
            mn.forget(tiny, other, [0])
    with pytest.raises(ValueError, match="cannot take codes"):
        mn.forget(nn.Sequential(nn.Flatten(), nn.Linear(35, 3)), codes, [0])
    with pytest.raises(ValueError, match="no trainable weight"):
        mn.forget(tiny.requires_grad_(False), codes, [0])
    with torch.no_grad():
        tiny[1].bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        mn.forget(tiny, codes, [0])


def test_codes_that_are_learned_too_well_say_nothing(learned):
    model, _, codes = learned
    with torch.no_grad():
        model[3].weight *= 100
        model[3].bias *= 100
    with pytest.warns(RuntimeWarning, match="all amplitudes are 1"):
        eta = mn.amplitude(model, codes, [0])
    assert all((v == 1).all() for v in eta.values())
    with (
        pytest.warns(RuntimeWarning, match="no setting tried"),
        pytest.warns(RuntimeWarning, match="all amplitudes are 1"),
    ):
        mn.forget(model, codes, [0], strength=mn.Strength(1e-6, 0.1))


@pytest.mark.filterwarnings("ignore:no setting tried takes:RuntimeWarning")
def test_codes_that_the_network_never_knew_are_reported(learned):
    model, _, codes = learned
    strangers = dataclasses.replace(codes, images=codes.images.roll(1, 0))
    with pytest.warns(RuntimeWarning, match=r"does not know the codes of \[2\]"):
        mn.forget(model, strangers, [2])


def test_a_setting_that_overflows_on_the_forgotten_code_alone_does_not_win():
    model = nn.Linear(1, 3)
    inputs, labels = torch.tensor([[1e30], [1e-3], [2e-3]]), torch.arange(3)
    eta = {"weight": torch.ones(3, 1)}
    strengths = [mn.Strength(1e-3, 1e12), mn.Strength(1e10, 1e12)]  # w · 1e30 overflows
    given_all = (model, inputs, labels, [0], eta, strengths, (1,))
    mild, wild = try_strengths(*given_all)
    assert math.isfinite(mild["remaining_loss"])
    assert wild["remaining_loss"] == math.inf
    assert choose_strength(*given_all)["lambda1"] == mild["lambda1"]


def test_settings_are_tried_from_the_weights_wherever_the_copy_is(learned):
    model, _, codes = learned
    eta = mn.amplitude(model, codes, [1])
    given_all = codes.images, codes.labels, [1], [mn.Strength(1e-3, 10.0)], (1, -1)
    step = Perturbation(model, eta)
    step.move({n: 3e38 / float(v.max()) for n, v in eta.items()})
    assert not torch.isfinite(step.network(codes.images)).all()
    assert choice.try_strengths(step, *given_all) == try_strengths(
        model, *given_all[:3], eta, *given_all[3:]
    )


def test_a_layer_that_stands_there_twice_is_left_as_it_was(codes):
    torch.manual_seed(0)
    again = nn.Linear(8, 8)
    layers = nn.Flatten(), nn.Linear(36, 8), again, nn.ReLU(), again, nn.Linear(8, 3)
    model = nn.Sequential(*layers).eval()
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():  # an untrained network
        warnings.simplefilter("ignore", RuntimeWarning)
        result = mn.forget(model, codes, [1])
    assert type(again.weight) is nn.Parameter
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name])
    assert result.model[2] is result.model[4]
    eta = mn.amplitude(model, codes, [1])
    scales = mn.step_scales(eta, result.settings["strength"])
    moved = perturbed(model, eta, scales, result.settings["sign"])
    for name, weights in result.model.named_parameters():
        assert torch.equal(weights, moved[name])
