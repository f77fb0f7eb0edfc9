import errno
import importlib
import json
import os
import shutil
import stat
import tempfile
import threading
import time
import unittest.mock
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mnemonic as mn
from mnemonic import storage
from mnemonic.training.recipe import Recipe


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
        b"1",
        {"a": 1},
        {"a": {"b": 1}, "c": 2},
        {"a": {"b": 1, "c": 2}},
        [{"a": 1}, "c", 2],
        [{"a": 1, "c": 2}],
        {1: 2},
        {"1": 2},
        Recipe(),
        Recipe(epochs=3),
    ]
    assert len({storage.digest(x) for x in different}) == len(different)
    assert storage.digest({"a": 1}, "c", 2) != storage.digest({"a": 1, "c": 2})
    with pytest.raises(TypeError, match="cannot digest a set"):
        storage.digest({1, 2})


KEYS = st.one_of(st.text(max_size=2), st.integers(-2, 2), st.booleans(), st.none())
PLAIN = st.recursive(
    st.one_of(KEYS, st.floats(allow_nan=False), st.binary(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=6,
)


def typed(value):
    """Equal for the same values of the same types: 1 is no True and no 1.0."""
    if isinstance(value, dict):
        return "dict", frozenset((typed(k), typed(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(map(typed, value))
    return type(value).__name__, repr(value)


def backwards(value):
    """The same, with the entries of dicts in another order."""
    if isinstance(value, dict):
        return {k: backwards(v) for k, v in reversed([*value.items()])}
    if isinstance(value, (list, tuple)):
        return type(value)(map(backwards, value))
    return value


@given(st.lists(PLAIN, min_size=1, max_size=3), st.lists(PLAIN, min_size=1, max_size=3))
def test_plain_values_have_one_digest_and_no_other_value_has_it(one, two):
    same = typed(one) == typed(two)
    assert (storage.digest(*one) == storage.digest(*two)) == same
    assert storage.digest(*map(backwards, one)) == storage.digest(*one)


@given(PLAIN)
def test_values_nested_in_another_way_have_another_digest(value):
    nested = [value, [value], (value,), [[value]], {"a": value}, {"a": [value]}]
    nested += [[value, value], [[value], value], [value, [value]], {"a": {"a": value}}]
    assert len({storage.digest(v) for v in nested}) == len(nested)


def test_numbers_of_numpy_are_numbers_and_a_class_is_no_value():
    assert storage.digest(np.float64(0.5)) == storage.digest(0.5)
    assert storage.digest(np.int64(3), np.bool_(True)) == storage.digest(3, True)
    with pytest.raises(TypeError, match="cannot digest a type"):
        storage.digest(Recipe)


def test_digests_that_stand_in_files_and_make_seeds_stay():
    """Codes that users keep, and every random stream of the book, rest on these."""
    codes = torch.arange(2.0), {"seed": "0", "distribution": "uniform"}
    assert storage.digest(*codes)[:8] == "79588dd9"
    assert storage.digest("codes", 0)[:8] == "7788ef7d"


def test_nothing_is_left_of_a_write_that_failed(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_text("old", encoding="utf-8")

    def fail():
        with storage.written_aside(path) as aside:
            aside.write_text("half of the n", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(path.parent.iterdir()) == [path]
    with storage.written_aside(path) as aside:
        aside.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"


def read(path):
    content, key, written = json.loads(path.read_text(encoding="utf-8"))
    return content, key, written


def write(path, *whole):
    path.write_text(json.dumps(whole), encoding="utf-8")


def test_store_makes_a_thing_once_and_again_when_its_key_or_file_changed(tmp_path):
    store, made = storage.Store(tmp_path / "folder", ".json", read, write), []

    def fetch(key, name=None):
        def make():
            made.append(key)
            return {"of": key}

        assert store.fetch(key, make, name) == store.find(key, name) == {"of": key}

    for key in ("a", "a", "b", "a"):
        fetch(key)
    assert made == ["a", "b"]
    for key in ("a", "a", "b", "a"):  # in one file, for the last key alone
        fetch(key, "one")
    assert made == ["a", "b", "a", "b", "a"]
    assert store.find("b", "one") is None
    path = tmp_path / "folder" / "a.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace("of", "no"), encoding="utf-8"
    )
    with pytest.warns(RuntimeWarning, match=r"a\.json is damaged \(its content"):
        fetch("a")
    assert "no" in path.with_name("a.json.damaged").read_text(encoding="utf-8")
    assert made[5:] == ["a"]


def test_what_cannot_be_made_again_is_refused_by_name():
    said = pytest.raises(ValueError, match=r"the file is damaged \('x'\); find a copy")
    with said, storage.intact("the file is damaged", "find a copy"):
        {}["x"]


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
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert storage.cache_folder() == tmp_path / ".cache" / "mnemonic"


# Folders of others, disks without locks, and no home.


def one_file(folder):
    return storage.Store(folder, ".json", read, write)


@pytest.fixture
def stranger():
    """A user who owns nothing here; what they may not do, root may not either."""
    if getattr(os, "geteuid", bool)() or not hasattr(os, "seteuid"):
        pytest.skip("only root can be somebody else")
    importlib.import_module("filelock")  # while it may be read
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_what_somebody_else_made_is_read_and_nothing_more(stranger):
    os.seteuid(0)
    store = one_file(stranger / "folder")
    store.fetch("a", lambda: 1)
    os.seteuid(65534)
    assert store.fetch("a", None) == 1
    for folder in (stranger / "folder", stranger / "other"):
        with pytest.raises(OSError, match=r"cannot write to .*MNEMONIC_CACHE"):
            one_file(folder).fetch("b", lambda: pytest.fail("work for nothing"))
    os.seteuid(0)
    (stranger / "folder").chmod(0o777)  # but the lock is not theirs
    os.seteuid(65534)
    assert store.fetch("a", None) == 1
    assert store.fetch("b", lambda: 2) == 2
    os.seteuid(0)
    (stranger / "folder").chmod(0o755)
    (stranger / "folder" / "a.json").write_text("{", encoding="utf-8")
    os.seteuid(65534)
    with pytest.raises(OSError, match=r"a\.json is damaged .*MNEMONIC_CACHE"):
        store.fetch("a", lambda: pytest.fail("work for nothing"))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664),
                                             (0o077, 0o600)])  # fmt: skip
def test_files_have_the_permissions_of_the_umask(umask, mode, tmp_path, codes):
    before = os.umask(umask)
    try:
        codes.save(tmp_path / "codes.safetensors")
        storage.write_json(tmp_path / "facts.json", 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("*.*")} == {mode}


@pytest.mark.parametrize("error", ["ENOLCK", "ENOTSUP", "EROFS", "EACCES", "ENOSPC"])
def test_a_disk_without_locks_keeps_files_all_the_same(error, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(getattr(errno, error), error)

    monkeypatch.setattr(storage.FileLock, "acquire", refused)
    store = one_file(tmp_path / "folder")
    assert [store.fetch("a", lambda: 1), store.fetch("a", None)] == [1, 1]
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["a.json"]


def test_locks_that_are_there_hold(tmp_path):
    inside, most = [], []

    def take_turns():
        with storage.alone(tmp_path / "folder" / "a.lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=take_turns) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    with pytest.raises(OSError, match="mine"), storage.alone(tmp_path / "b.lock"):
        raise OSError("mine")  # what is done under a lock fails as it fails


def test_no_home_folder_and_its_sign(tmp_path, monkeypatch):
    for name in ("MNEMONIC_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if os.name == "posix":
        nobody = unittest.mock.Mock(side_effect=KeyError("nobody"))
        monkeypatch.setattr("pwd.getpwuid", nobody)
        with pytest.raises(ValueError, match=r"no home folder .*MNEMONIC_CACHE"):
            storage.cache_folder()
    monkeypatch.setenv("MNEMONIC_CACHE", str(tmp_path))
    assert storage.cache_folder() == tmp_path
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("MNEMONIC_CACHE", "~/cache")
    assert storage.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MNEMONIC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert storage.cache_folder() == tmp_path / "xdg" / "mnemonic"


def test_what_is_kept_on_a_read_only_disk_is_fetched(data, monkeypatch):
    def fetched():
        model, recipe = mn.build_model("mlp", data), mn.Recipe(epochs=1)
        mn.trained(model, data, recipe=recipe, progress=False)
        return mn.run_grid(two, [{}], seeds=[0], jobs=1)["v"].tolist()

    assert fetched() == [2]

    def refused(*_, **__):  # such a disk refuses to remove even what is not there
        raise OSError(errno.EROFS, "Read-only file system")

    for place, name in (
        (Path, "unlink"),
        (Path, "mkdir"),
        (os, "open"),
        (os, "replace"),
    ):
        monkeypatch.setattr(place, name, refused)
    assert fetched() == [2]


def two(seed):
    return {"v": 2}
