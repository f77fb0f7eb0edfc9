import copy
import dataclasses
import math

import pytest
import safetensors.torch
import torch
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mnemonic as mn
from mnemonic.fisher import chunks
from mnemonic.forgetting.on_codes import code_logits


def test_one_code_per_class_in_the_shape_of_an_input(data, codes):
    assert codes.images.shape == (3, 1, 6, 6)
    assert codes.labels.tolist() == [0, 1, 2]
    again = mn.MnemonicCodes.draw(data, seed=0)
    other = mn.MnemonicCodes.draw(data, seed=1)
    assert torch.equal(codes.images, again.images)
    assert not torch.equal(codes.images, other.images)


def test_codes_are_no_affine_image_of_the_first_weights():
    # One seed for both once made ten hidden units out of the codes themselves.
    data = mn.load_data("mnist-5k")
    for seed in range(3):
        codes = mn.MnemonicCodes.draw(data, seed=seed).images.flatten(1)
        weights = mn.build_model("mlp", data, seed=seed)[1].weight
        together = torch.corrcoef(torch.cat([codes, weights.detach()]))
        assert together[:10, 10:].abs().max() < 0.25


def test_distributions():
    data = mn.load_data("mnist-5k")
    drawn = {
        name: mn.MnemonicCodes.draw(data, seed=0, distribution=name).images
        for name in mn.DISTRIBUTIONS
    }
    moments = {
        "uniform": (0.5, 12**-0.5),
        "normal": (0, 1),
        "binary": (0.5, 0.5),
        "low-frequency": (0.5, 12**-0.5),
    }
    assert set(moments) == set(drawn)
    for name, (mean, std) in moments.items():
        assert drawn[name].mean() == pytest.approx(mean, abs=0.05)
        assert drawn[name].std() == pytest.approx(std, abs=0.03)
    assert set(drawn["binary"].unique().tolist()) == {0, 1}
    block = drawn["low-frequency"][0, 0, 4:8, 8:12]
    assert (block == block[0, 0]).all()
    with pytest.raises(ValueError, match="unknown code distribution 'gamma'; choose"):
        mn.MnemonicCodes.draw(data, distribution="gamma")


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**30))
def test_substitution_replaces_whole_images_by_the_code_of_their_class(n, t_mix, seed):
    x, y = blobs()
    data = mn.ImageData.from_arrays(
        train=(x, y), test=(x, y), class_names=["a", "b", "c"]
    )
    codes = mn.MnemonicCodes.draw(data, seed=seed % 100)
    inputs, labels = torch.randn(n, 1, 6, 6) + 5, torch.randint(3, (n,))
    before = inputs.clone()
    out = codes.substitute(inputs, labels, t_mix, torch.Generator().manual_seed(seed))
    assert torch.equal(inputs, before)
    for image, mixed, label in zip(inputs, out, labels, strict=True):
        assert torch.equal(mixed, image) or torch.equal(mixed, codes.images[label])


def test_substitution_rate_is_t_mix(codes):
    inputs, labels = torch.full((20_000, 1, 6, 6), 9.0), torch.arange(20_000) % 3
    for t_mix in (0.0, 0.1, 0.5, 1.0):
        out = codes.substitute(inputs, labels, t_mix, torch.Generator().manual_seed(0))
        share = (out[:, 0, 0, 0] != 9).double().mean()
        assert share == pytest.approx(t_mix, abs=4 * (0.25 / 20_000) ** 0.5)


def test_saved_codes_come_back(tmp_path, codes, data):
    path = tmp_path / "folder" / "codes.safetensors"
    codes.save(path)
    back = mn.MnemonicCodes.load(path)
    assert torch.equal(back.images, codes.images)
    assert torch.equal(back.labels, codes.labels)
    assert back.class_names == codes.class_names
    assert (back.seed, back.distribution) == (0, "uniform")
    back.check(data)


def test_codes_of_other_data_are_refused(data, codes):
    x, y = blobs(k=4, shape=(1, 6, 6))
    four = mn.ImageData.from_arrays(train=(x, y), test=(x, y), class_names="abcd")
    with pytest.raises(ValueError, match=r"of shape \[3, 1, 6, 6\] for a, b, c do"):
        codes.check(four)
    x, y = blobs(shape=(3, 6, 6))
    colour = mn.ImageData.from_arrays(train=(x, y), test=(x, y), class_names="abc")
    with pytest.raises(ValueError, match="do not fit"):
        codes.check(colour)
    x, y = blobs()
    renamed = mn.ImageData.from_arrays(train=(x, y), test=(x, y), class_names="abd")
    with pytest.raises(ValueError, match=r"for a, b, c do not fit .* for a, b, d"):
        codes.check(renamed)


def test_damaged_code_files_are_refused(tmp_path, codes):
    path = tmp_path / "codes.safetensors"
    with pytest.raises(FileNotFoundError, match="no codes at"):
        mn.MnemonicCodes.load(path)
    codes.save(path)
    whole = path.read_bytes()
    for damage in (b"", whole[:100], whole[:-1], b"x" * len(whole)):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match="damaged or holds no mnemonic codes"):
            mn.MnemonicCodes.load(path)
    names = '["a", "b", "c"]'
    metadata = {"class_names": names, "seed": "0", "distribution": "uniform"}
    good = {"images": torch.rand(3, 1, 6, 6), "labels": torch.arange(3)}
    for changes in (
        {"images": torch.full((3, 1, 6, 6), torch.nan)},
        {"images": torch.rand(2, 1, 6, 6)},
        {"images": torch.rand(3, 36)},
        {"labels": torch.tensor([0, 2, 1])},
    ):
        safetensors.torch.save_file({**good, **changes}, path, metadata)
        with pytest.raises(ValueError, match="not one finite code"):
            mn.MnemonicCodes.load(path)
    for changes in (
        {"distribution": "zzz"},
        {"class_names": "null"},
        {"class_names": "3"},
        {"seed": "x"},
    ):
        safetensors.torch.save_file(good, path, {**metadata, **changes})
        with pytest.raises(ValueError, match="holds no mnemonic codes"):
            mn.MnemonicCodes.load(path)
    safetensors.torch.save_file(good, path)  # no metadata: some other tensors
    with pytest.raises(ValueError, match="holds no mnemonic codes"):
        mn.MnemonicCodes.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.full((3, 1, 6, 6), torch.nan)}, "not one finite code"),
        ({"images": torch.zeros(3, 1, 6, 6).byte()}, "codes are torch.uint8"),
        ({"images": torch.zeros(3, 36)}, r"shape \[3, 36\] .* not one finite code"),
        ({"images": None}, "codes are NoneType"),
        ({"class_names": ("a", "b")}, "not one finite code"),
        ({"class_names": None}, "for the classes None"),
        ({"distribution": []}, r"unknown code distribution \[\]; choose"),
    ],
)
def test_only_codes_are_codes(codes, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(codes, **changes)


@pytest.mark.parametrize("t_mix", [math.nan, 1.1, -0.1, None, True])
def test_only_probabilities_mix(codes, t_mix):
    with pytest.raises(ValueError, match=r"t_mix is .*; give a probability in"):
        codes.substitute(codes.images, codes.labels, t_mix, torch.Generator())


@pytest.mark.parametrize("seed", [None, "x", 1.5, True, 10**400])
def test_only_integers_are_seeds(data, seed):
    with pytest.raises(ValueError, match=r"seed is .*; give an integer"):
        mn.MnemonicCodes.draw(data, seed=seed)
    with pytest.raises(ValueError, match=r"seed is .*; give an integer"):
        mn.build_model("mlp", data, seed=seed)


class Narrow(nn.Module):
    """A network on a device that holds no more than ``width`` inputs."""

    def __init__(self, model, width, error=None):
        super().__init__()
        self.model, self.width, self.error, self.sizes = model, width, error, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.width:
            raise self.error
        return self.model(x)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_codes_that_memory_cannot_hold_at_once_are_taken_in_parts(learned, error):
    model, _, codes = learned
    narrow = Narrow(copy.deepcopy(model), 2, error)
    assert torch.allclose(code_logits(narrow, codes), code_logits(model, codes))
    assert narrow.sizes == [1, 4, 2, 2]
    result, expected = (mn.forget(m, codes, [1]) for m in (narrow, model))
    assert result.settings == expected.settings
    assert result.forgets_codes
    new = dict(result.model.named_parameters())
    for name, weights in expected.model.named_parameters():
        torch.testing.assert_close(new[f"model.{name}"], weights)


def test_codes_that_memory_can_hold_are_taken_at_once(learned, monkeypatch):
    model, _, codes = learned
    narrow = Narrow(model, 4)
    assert torch.equal(code_logits(narrow, codes), model(codes.images))
    assert narrow.sizes == [1, 4]
    monkeypatch.setattr(chunks, "SMALL_BYTES", 0)
    monkeypatch.setattr(chunks, "free_bytes", lambda _: 1)
    assert torch.allclose(code_logits(narrow, codes), model(codes.images))
    assert narrow.sizes == [1, 4, 1, 1, 1, 1, 1]


def test_no_memory_for_one_code_is_not_blamed_on_the_codes(learned):
    class Never(nn.Linear):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        code_logits(Never(3, 3), learned[2])


@pytest.mark.parametrize(
    "changes", [{"generator": None}, {"labels": torch.ones(3, dtype=torch.uint8)}]
)
def test_what_would_mix_otherwise_is_refused(codes, changes):
    given = {"labels": codes.labels, "generator": torch.Generator(), **changes}
    with pytest.raises(ValueError, match="int64 labels"):
        codes.substitute(codes.images, t_mix=0.5, **given)
