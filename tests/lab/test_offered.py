"""Networks as files to pass on."""

import pytest
import torch

import mnemonic as mn
from mnemonic.lab import offered


@pytest.fixture
def file(tmp_path, smoke_networks):
    path = tmp_path / "new" / "mlp.safetensors"
    return path, offered.offer(path, "smoke")


def test_an_offered_network_is_what_was_trained(file):
    path, card = file
    profile = mn.Profile.named("smoke")
    data = profile.load()
    model, codes = profile.trained(data, 0)
    read, own, told = mn.load_network(path)
    assert told == card
    assert torch.equal(own.images, codes.images)
    assert own.class_names == codes.class_names
    for name, weight in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight)
    assert not read.training
    assert card["accuracy"] == mn.evaluate(read, data, [3]).accuracy
    assert card["test_images"] == len(data.test)
    assert card["recipe"]["epochs"] == profile.recipe.epochs
    forgot = mn.forget(read, own, [3])
    assert mn.evaluate(forgot.model, data, [3]).forgetting_error > 80


def test_a_damaged_or_foreign_file_is_refused(file, tmp_path):
    path, _ = file
    whole = path.read_bytes()
    for spoilt in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"no network"):
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match="is damaged or holds no network"):
            mn.load_network(path)
    codes = mn.MnemonicCodes.draw(mn.load_data("mnist-5k"), seed=0)
    codes.save(tmp_path / "codes.safetensors")
    with pytest.raises(ValueError, match="holds no network"):
        mn.load_network(tmp_path / "codes.safetensors")
    with pytest.raises(FileNotFoundError, match="download one from a release"):
        mn.load_network(tmp_path / "none.safetensors")


def test_a_network_that_does_not_know_its_codes_is_refused(
    tmp_path, smoke_networks, monkeypatch
):
    def untrained(self, data, seed):
        codes = mn.MnemonicCodes.draw(data, seed=seed)
        return mn.build_model("mlp", data, seed=seed).eval(), codes

    monkeypatch.setattr(mn.Profile, "trained", untrained)
    offered.offer(tmp_path / "n.safetensors", "smoke")
    with pytest.raises(ValueError, match="does not know its own codes"):
        mn.load_network(tmp_path / "n.safetensors")
