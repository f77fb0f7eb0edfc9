import pytest
import torch

from mnemonic import storage
from mnemonic.training import Recipe


def test_digest_depends_on_content_only():
    a = torch.arange(6.0).reshape(2, 3)
    assert storage.digest(a) == storage.digest(a.t().contiguous().t())
    assert storage.digest({"x": 1, "y": a}) == storage.digest({"y": a, "x": 1})
    assert storage.digest(a.bfloat16()) == storage.digest(a.bfloat16())
    different = [
        a,
        a.double(),
        a.flatten(),
        a + 1,
        None,
        1,
        1.0,
        True,
        "1",
        [1],
        [[1], [2]],
        [[1, 2], []],
        {"a": 1},
        Recipe(),
        Recipe(epochs=3),
    ]
    assert len({storage.digest(x) for x in different}) == len(different)
    with pytest.raises(TypeError, match="cannot digest a set"):
        storage.digest({1, 2})


def test_nothing_is_left_of_a_write_that_failed(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_text("old")

    def fail():
        with storage.written_aside(path) as aside:
            aside.write_text("half of the n")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    with storage.written_aside(path) as aside:
        aside.write_text("new")
    assert path.read_text() == "new"


def test_damaged_file_is_kept_under_another_name(tmp_path):
    path = tmp_path / "cell.json"
    path.write_text("{")
    with pytest.warns(RuntimeWarning, match=r"cell\.json is damaged \(why\)"):
        storage.set_aside(path, "why")
    assert (tmp_path / "cell.json.damaged").read_text() == "{"


def test_streams_of_random_numbers_are_separate():
    def draw(purpose, seed):
        return torch.rand(5, generator=storage.generator_for(purpose, seed))

    assert torch.equal(draw("codes", 0), draw("codes", 0))
    assert not torch.equal(draw("codes", 0), draw("codes", 1))
    assert not torch.equal(draw("codes", 0), draw("training", 0))
    plain = torch.rand(5, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(draw("codes", 0), plain)


def test_cache_folder_by_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MNEMONIC_CACHE", str(tmp_path))
    assert storage.cache_folder() == tmp_path
    monkeypatch.delenv("MNEMONIC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert storage.cache_folder() == tmp_path / "mnemonic"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage.cache_folder() == tmp_path / ".cache" / "mnemonic"
