import datetime
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mnemonic as mn
from mnemonic.lab import results

COMMITTED = sorted((Path(__file__).parents[2] / "book" / "results").glob("*.csv"))
UNITS = {  # every metric that was published, and where its values lie
    "data_free": (0, 1),
    "accuracy": (0, 100),
    "remaining_accuracy": (0, 100),
    "forgetting_error": (0, 100),
    "seconds": (0, 1e5),
    "mean_absolute_gradient": (0, 1),
    "fisher_error": (0, 1),
    "auc": (0, 1),
}

# Typed from the paper, in the order MNIST, CIFAR-10, CUB, STN.
SETS = ["MNIST", "CIFAR-10", "CUB", "STN"]
TABLE_2 = """
FastMU         96.5±0.1  90.4±0.5   73.1±1.3  88.0±0.1
LwSF           43.7±9.6  65.4±16.6  68.2±3.5  80.1±6.7
SFDN           94.1±0.7  93.4±0.2   78.2±0.6  88.3±0.6
SSD            96.9±0.0  94.2±0.0   44.3±0.0  74.4±0.0
ERM-KTP        -         92.7±0.4   42.8±3.2  75.6±4.0
Mnemonic code  95.9±0.1  94.4±0.1   79.3±0.7  91.7±0.3
"""
TABLE_3 = """
FastMU         98.0±0.3  100±0.0   68.6±12.0  60.9±6.9
LwSF           94.4±1.7  100±0.0   93.1±7.0   98.2±1.8
SFDN           100±0.0   96.3±2.5  100±0.0    100±0.0
SSD            93.1±0.0  100±0.0   100±0.0    100±0.0
ERM-KTP        -         100±0.0   100±0.0    100±0.0
Mnemonic code  100±0.0   100±0.0   100±0.0    100±0.0
"""
TABLE_4 = """
ResNet-18   pretrained        69.8  12.0  -
ResNet-18   fine-tuned        67.5  12.0  882
ResNet-18   after forgetting  67.5  100   8.66
ResNeXt-50  pretrained        77.4  6.0   -
ResNeXt-50  fine-tuned        75.9  12.0  6923
ResNeXt-50  after forgetting  75.9  100   21.0
Swin        pretrained        80.9  4.0   -
Swin        fine-tuned        78.8  4.0   8488
Swin        after forgetting  75.3  92.0  28.6
"""
TABLE_5 = {
    "MNIST": [95.9, 95.4, 94.2, 91.1],
    "CIFAR-10": [94.2, 94.4, 94.3, 68.2],
    "CUB": [79.3, 77.5, 75.3, 68.2],
    "STN": [91.7, 89.3, 90.3, 90.2],
}
TABLE_7 = {
    "MNIST": [95.4, 95.4, 95.6, 96.0, 96.0, 95.4, 96.1, 95.6, 96.3],
    "CIFAR-10": [93.5, 94.4, 95.4, 93.9, 95.0, 94.3, 91.2, 93.6, 93.6],
    "CUB": [78.0, 78.9, 77.3, 77.6, 78.1, 77.9, 78.4, 79.2, 77.7],
    "STN": [90.7, 90.6, 90.3, 89.5, 89.7, 90.1, 90.7, 89.8, 90.9],
}


def typed(table):
    return [re.split(r" {2,}", line) for line in table.strip().splitlines()]


def every_artefact():
    with pytest.raises(ValueError, match="there are") as refused:
        results.paper("table-0")
    return str(refused.value).split("there are ")[1].split(", ")


@pytest.mark.parametrize(
    ("artefact", "table", "metric"),
    [
        ("table-2", TABLE_2, "remaining_accuracy"),
        ("table-3", TABLE_3, "forgetting_error"),
    ],
)
def test_comparison_of_methods_is_the_papers(artefact, table, metric):
    rows = results.paper(artefact)
    assert set(rows["metric"]) == {metric}
    wanted = {
        (method, data, *map(float, cell.split("±")))
        for method, *cells in typed(table)
        for data, cell in zip(SETS, cells, strict=True)
        if cell != "-"
    }
    found = rows[["method", "data", "value", "sd"]].itertuples(index=False, name=None)
    assert set(found) == wanted
    assert len(rows) == len(wanted)


def test_imagenet_is_the_papers():
    rows = results.paper("table-4").set_index(["method", "setting", "metric"])["value"]
    for model, setting, *cells in typed(TABLE_4):
        names = ("remaining_accuracy", "forgetting_error", "seconds")
        for metric, cell in zip(names, cells, strict=True):
            assert ((model, setting, metric) in rows) == (cell != "-")
            if cell != "-":
                assert rows[model, setting, metric] == float(cell)


def test_shares_of_codes_are_the_papers():
    rows = results.paper("table-5")
    assert (rows.query("metric == 'forgetting_error'")["value"] == 100).all()
    kept = rows.query("metric == 'remaining_accuracy'")
    for data, wanted in TABLE_5.items():
        of = kept[kept["data"] == data]
        assert of["setting"].astype(float).tolist() == [0.1, 0.3, 0.5, 0.8]
        assert of["value"].tolist() == wanted


def test_every_class_is_the_papers():
    rows = results.paper("table-7")
    for data, wanted in TABLE_7.items():
        of = rows[rows["data"] == data].assign(c=rows["setting"].astype(int))
        table = of.pivot_table(index="c", columns="metric", values="value")
        assert table.index.tolist() == list(range(1, 10))
        assert table["remaining_accuracy"].tolist() == wanted
        errors = [99.8 if (data, c) == ("CIFAR-10", 5) else 100 for c in table.index]
        assert table["forgetting_error"].tolist() == errors


def test_a_few_more_figures():
    free = results.paper("table-1").set_index("method")["value"]
    assert set(free[free == 1].index) == {
        "FastMU",
        "ZeroShotMU",
        "LwSF",
        "Mnemonic code",
    }
    assert len(free) == 11
    gradients = results.paper("table-6").query("method == 'forget'")["value"]
    assert gradients.tolist() == [3.6e-5, 3.0e-5, 1.8e-5, 1.2e-5, 1.4e-5]
    assert results.paper("table-8")["value"].tolist() == [93.8, 5.5, 94.3, 100]
    code = results.paper("fig-5").query("method == 'code'").set_index("data")["value"]
    assert code.to_dict() == {"MNIST": 3.5e-7, "CIFAR-10": 6e-11}
    assert results.paper("fig-11")["value"].tolist() == [0.49, 0.51]


def test_every_artefact_says_what_its_numbers_are():
    names = every_artefact()
    assert {f"table-{i}" for i in range(1, 9)} < set(names)
    for name in names:
        rows = results.paper(name)
        assert rows.columns.tolist() == [
            "artefact", "method", "data", "setting",
            "metric", "value", "sd", "read_off",
        ]  # fmt: skip
        assert rows["read_off"].dtype == bool
        assert rows.index.tolist() == list(range(len(rows)))
        assert set(rows["artefact"]) == {name}
        assert set(rows["metric"]) <= UNITS.keys()
        assert np.isfinite(rows["value"]).all()
        for metric, (low, high) in UNITS.items():
            assert rows.loc[rows["metric"] == metric, "value"].between(low, high).all()
        assert not rows.duplicated(["method", "data", "setting", "metric"]).any()
        # Tables print their numbers; these plots do not.
        plotted = name in ("fig-2", "fig-3", "fig-4", "fig-5")
        assert rows["read_off"].eq(plotted).all()


def test_artefact_that_was_not_published():
    with pytest.raises(ValueError, match="no published figures of 'table-9'") as said:
        results.paper("table-9")
    assert "table-7" in str(said.value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MNEMONIC_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "method": ["ours", "ours, λ1 = 1e-3", 'a "quoted" one', "last"] * 50,
            "seed": np.arange(200),
            "remaining_accuracy": 100 * generator.random(200),
            "sd": [0.5, None, 0.25, 1e-300] * 50,
            "forgets_codes": [True, False, True, True] * 50,
        }
    )


def test_record_is_read_back_as_it_was(folder, frame):
    results.record("a-run", frame, about="MNIST, three seeds", seconds=12.345)
    read, facts = results.recorded("a-run")
    pd.testing.assert_frame_equal(read, frame, check_exact=True)
    assert facts["name"] == "a-run"
    assert facts["about"] == "MNIST, three seeds"
    assert facts["rows"] == 200
    assert facts["seconds"] == 12.3
    assert facts.keys() > results.provenance().keys()
    assert sorted(p.name for p in folder.iterdir()) == ["a-run.csv", "a-run.json"]
    results.record("a-run", frame[:3], about="less", seconds=1)  # takes its place
    assert len(results.recorded("a-run")[0]) == 3


def spoil(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    ("ending", "change"),
    [
        ("csv", lambda text: text[:-20]),
        ("csv", lambda text: text.replace("True", "False", 1)),
        ("csv", lambda text: ""),
        ("json", lambda text: text[:-20]),
        ("json", lambda text: ""),
        ("json", lambda text: "[]"),
        ("json", lambda text: "{}"),
        ("json", lambda text: "null"),
    ],
)
def test_damaged_record_is_refused(folder, frame, ending, change):
    results.record("a-run", frame, about="", seconds=1)
    spoil(folder / f"a-run.{ending}", change)
    with pytest.raises(ValueError, match=r"a-run\.csv is damaged .* restore it"):
        results.recorded("a-run")


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_half_a_record_counts_as_none(folder, frame, ending):
    results.record("a-run", frame, about="", seconds=1)
    (folder / f"a-run.{ending}").unlink()
    with pytest.raises(FileNotFoundError, match="no recorded run 'a-run'"):
        results.recorded("a-run")


def test_missing_record_says_what_is_there_and_how_to_make_it(folder, frame):
    with pytest.raises(FileNotFoundError, match="which holds nothing"):
        results.recorded("a-run")
    results.record("other", frame, about="", seconds=1)
    with pytest.raises(FileNotFoundError, match="which holds other;") as said:
        results.recorded("a-run")
    assert str(folder) in str(said.value)
    assert "MNEMONIC_RESULTS" in str(said.value)
    assert "python -m mnemonic.lab.records a-run" in str(said.value)


def test_results_live_in_the_book_unless_named(monkeypatch):
    monkeypatch.delenv("MNEMONIC_RESULTS", raising=False)
    repository = Path(mn.__file__).parents[1]
    assert results.results_folder() == repository / "book" / "results"


def test_provenance_says_where_a_number_is_from(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["/bin/python3", "-m", "pytest", "-q"])
    facts = results.provenance()
    assert set(facts) == {
        "commit", "date", "device", "threads", "torch", "python", "mnemonic", "command",
    }  # fmt: skip
    assert json.loads(json.dumps(facts)) == facts
    date = datetime.datetime.fromisoformat(facts["date"])
    age = datetime.datetime.now(datetime.UTC) - date
    assert abs(age) < datetime.timedelta(minutes=1)
    assert facts["mnemonic"] == mn.__version__
    assert facts["threads"] >= 1
    assert re.search(r"\(\d+ cores\)|GPU|NVIDIA", facts["device"])
    assert facts["command"] == "python -m pytest -q"


def test_line_for_the_top_of_a_notebook():
    line = results.provenance_line(mn.Profile.named("quick"))
    facts = results.provenance()
    assert "\n" not in line
    for part in ("profile quick", "mnist-5k", facts["device"], facts["torch"]):
        assert part in line
    assert line.endswith(facts["commit"])


def git(folder, *command):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(
        ["git", *identity, *command], cwd=folder, check=True, capture_output=True
    )


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of its own for the package's file."""
    package = tmp_path / "repository" / "mnemonic"
    (package / "lab").mkdir(parents=True)
    (package / "data.py").write_text("code = 1\n", encoding="utf-8")
    (package.parent / "notes.md").write_text("text\n", encoding="utf-8")
    monkeypatch.setattr(results, "__file__", str(package / "lab" / "results.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return package.parent


@pytest.mark.skipif(not shutil.which("git"), reason="git is not here")
def test_commit_is_named_and_says_when_the_package_differs(checkout):
    assert results.provenance()["commit"] == "no commit"
    git(checkout, "init", "-q")
    assert results.provenance()["commit"] == "no commit"
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    clean = results.provenance()["commit"]
    assert re.fullmatch(r"commit [0-9a-f]{7,}", clean)
    (checkout / "notes.md").write_text("other text\n", encoding="utf-8")
    assert results.provenance()["commit"] == clean
    (checkout / "mnemonic" / "data.py").write_text("code = 2\n", encoding="utf-8")
    assert results.provenance()["commit"] == f"{clean} (changed)"


def test_commit_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert results.provenance()["commit"] == "no commit"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_record_is_whole(path, monkeypatch):
    monkeypatch.setenv("MNEMONIC_RESULTS", str(path.parent))
    frame, facts = results.recorded(path.stem)
    assert facts["name"] == path.stem
    assert len(frame) == facts["rows"] > 0
    assert facts["seconds"] > 0
    assert facts["about"]
    assert re.match(r"commit [0-9a-f]{7,}", facts["commit"])
    for column in frame.columns[frame.columns.str.contains("accuracy|error")]:
        without_codes = frame.get("t_mix", 1) == 0  # nothing to know, nothing forgets
        assert (frame[column].between(0, 100) | without_codes).all()


def test_logits_are_recorded_and_read_back(monkeypatch, tmp_path):
    monkeypatch.setenv("MNEMONIC_RESULTS", str(tmp_path))
    frame, how = pd.DataFrame({"a": [1]}), {"about": "a trial", "seconds": 1.0}
    tensors = {"0/original": torch.rand(3, 2).half()}
    results.record("trial", frame, **how, tensors=tensors)
    read = results.recorded_tensors("trial")
    assert torch.equal(read.pop("0/original"), tensors["0/original"])
    assert not read
    path = tmp_path / "trial.safetensors"
    whole = path.read_bytes()
    for spoilt in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match=r"trial\.safetensors is damaged"):
            results.recorded_tensors("trial")
    path.unlink()
    with pytest.raises(ValueError, match=r"is damaged .*restore it"):
        results.recorded_tensors("trial")
    results.record("trial", frame, **how)
    with pytest.raises(ValueError, match="'trial' has no logits"):
        results.recorded_tensors("trial")
