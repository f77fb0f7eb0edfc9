"""What the sources must not do, and what must not get out of its folder."""

import ast
import io
import re
import tarfile
from pathlib import Path

import pytest
from conftest import pass_for_originals
from PIL import Image

import mnemonic as mn

ROOT = Path(__file__).parents[1]
SOURCES = [
    *sorted((ROOT / "mnemonic").rglob("*.py")),
    *sorted((ROOT / "book" / "_extensions").glob("*.py")),
]
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "pty"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    "os.system", "os.popen", "torch.load", "torch.save", "joblib.load", "numpy.load",
    "np.load", "pd.read_pickle", "yaml.load", "tarfile.extractall", "extractall",
    "shutil.unpack_archive", "runpy.run_path", "subprocess.getoutput",
    "subprocess.getstatusoutput",
}  # fmt: skip


def faults(text):
    """Names of what a source does and must not."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if node.module in MODULES else []
            names = [f"{node.module}.{a.name}" for a in node.names]
            found += [name for name in names if name in METHODS]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name == "torch.load" and given.get("weights_only") == "True":
                continue  # tensors alone: this does not unpickle objects
            if name in CALLS | METHODS or name.split(".")[-1] in (
                "extractall",
                "extract",
            ):
                found.append(name)
            for keyword in node.keywords:
                if keyword.arg == "shell" or (
                    keyword.arg in ("allow_pickle", "weights_only")
                    and ast.unparse(keyword.value) not in ("False", "True")
                ):
                    found.append(keyword.arg)
                if (
                    keyword.arg == "allow_pickle"
                    and ast.unparse(keyword.value) != "False"
                ):
                    found.append(keyword.arg)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "eval(x)", "os.system('ls')",
        "subprocess.run(x, shell=True)", "torch.load(f)", "archive.extractall()",
        "np.load(f, allow_pickle=True)", "archive.extract(member)",
        "from os import system", "from torch import load", "from numpy import load",
        "subprocess.getoutput('ls')", "from subprocess import getstatusoutput",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(text):
    assert faults(text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(path):
    assert faults(path.read_text(encoding="utf-8")) == []


def test_archives_write_nothing(tmp_path, monkeypatch):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "png")
    root, before = tmp_path / "a" / "data", {"outside.png"}
    root.mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"as it was")
    with tarfile.open(root / "cifar10-jpeg.tar.xz", "w:xz") as archive:
        for part, n in (("train", 3), ("test", 1)):
            for name in ("cat", "dog"):
                for i in range(n):
                    member = tarfile.TarInfo(f"cifar10-jpeg/{part}/{name}/{i}.png")
                    member.size = len(image.getvalue())
                    archive.addfile(member, io.BytesIO(image.getvalue()))
        for name in ("../../outside.png", "../../../train/cat", f"{tmp_path}/new.png"):
            member = tarfile.TarInfo(name)
            member.size = len(image.getvalue())
            archive.addfile(member, io.BytesIO(image.getvalue()))
        link = tarfile.TarInfo("cifar10-jpeg/train/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    pass_for_originals(monkeypatch, "cifar10-jpeg", root.iterdir())
    data = mn.load_data("cifar10-jpeg", root=root)
    assert data.class_names == ("cat", "dog")
    assert len(data.train) + len(data.validation) == 6
    assert {p.name for p in tmp_path.iterdir()} == {"a", *before}
    assert [p.name for p in root.iterdir()] == ["cifar10-jpeg.tar.xz"]
    assert (tmp_path / "outside.png").read_bytes() == b"as it was"


def test_pages_run_no_code_from_data():
    for path in (ROOT / "book" / "playground").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        for call in (r"\beval\(", r"new Function", r"innerHTML", r"document\.write"):
            assert not re.search(call, text), f"{path.name} has {call}"


def test_security_says_what_forgetting_does_not_guarantee():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "does not guarantee" in text
    for trace in ("not\nerasure", "Copies stay", "MNEMONIC_CACHE", "relearning"):
        assert trace in text
