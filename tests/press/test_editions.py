import copy
import importlib
import inspect
import json
import re
import shutil
import threading
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn

import mnemonic as mn
from mnemonic import exercises
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.exercises import ch1, ch2, ch3, ch4, ch6, ch9, ch12
from mnemonic.press import editions, formats, otter

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells_of(notebook, tag):
    cells = notebook["cells"]
    return [c for c in cells if tag in c["metadata"].get("tags", [])]


def text_of(notebook):
    return "\n".join(c["source"] for c in notebook["cells"])


@each_notebook
def test_student_has_every_exercise_to_fill_in_and_no_solution(path):
    whole = nbformat.read(path, 4)
    before = json.dumps(whole)
    for_students = editions.edition(whole)
    assert json.dumps(whole) == before
    labels = re.findall(r"\{exercise\}\n:label: ex-(\S+)", text_of(whole))
    cells = cells_of(for_students, "exercise")
    assert [c["id"] for c in cells] == [f"ex-{label}-exercise" for label in labels]
    assert "{solution}" not in text_of(for_students)
    assert text_of(for_students).count("```{hint}") == len(labels)
    assert not cells_of(for_students, "solution")
    # all else is there, in order
    kept = [c for c in for_students["cells"] if c["cell_type"] == "code"]
    kept = [c for c in kept if c not in cells]
    assert kept == [c for c in whole["cells"] if c["cell_type"] == "code"]
    text = text_of(for_students)
    for part in re.split(r"(?s)````\{.*?^````$", text_of(whole), flags=re.M):
        assert part.strip() in text
    ids = [c["id"] for c in for_students["cells"]]
    assert len(set(ids)) == len(ids)


@each_notebook
def test_exercise_waits_for_an_answer_and_its_solution_asks_the_same_check(path):
    whole = editions.edition(nbformat.read(path, 4), solved=True)
    pairs = list(
        zip(cells_of(whole, "exercise"), cells_of(whole, "solution"), strict=True)
    )
    kinds = []
    for exercise, solution in pairs:
        chapter, kind = re.fullmatch(
            r"ex-(ch\d+)-(\w+)-exercise", exercise["id"]
        ).groups()
        kinds.append(kind)
        assert "your turn" in exercise["source"]
        assert "your turn" not in solution["source"]
        last = exercise["source"].splitlines()[-1]
        assert solution["source"].splitlines()[-1] == last
        assert last.startswith(f"mn.exercises.{chapter}.{kind}(")
        check = getattr(importlib.import_module(f"mnemonic.exercises.{chapter}"), kind)
        assert inspect.getdoc(check)
    assert kinds == ["predict", "change", "implement", "critique"]


def test_running_a_chapter_finds_what_does_not_work(tmp_path):
    cell = {
        "cell_type": "code", "id": "p", "metadata": {"tags": ["parameters"]},
        "outputs": [], "execution_count": None, "source": ['profile = "quick"'],
    }  # fmt: skip
    exercise = "````{{exercise}}\n:label: {0}\n\nWhat?\n\n```python\n{1}\n```\n````\n"
    solution = "\n````{{solution}} {0}\n:class: dropdown\n\n```python\n{1}\n```\n````\n"
    waits = 'raise NotImplementedError("your turn")'
    parts = [
        ("good", waits, 'print("Done.", profile)'),
        ("open", "pass", 'print("Done.")'),
        ("wrong", waits, 'print("no")'),
        ("fails", waits, "1 / 0"),
    ]
    text = "".join(exercise.format(n, a) + solution.format(n, b) for n, a, b in parts)
    markdown = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": [text]}
    notebook = {"cells": [cell, markdown], "metadata": {}, "nbformat": 4}
    path = tmp_path / "01_a.ipynb"
    path.write_text(json.dumps({**notebook, "nbformat_minor": 5}), encoding="utf-8")
    faults = editions.faults_of(editions.run_checked(path, tmp_path, "smoke"))
    assert [f.split()[0] for f in faults] == [
        "open-exercise", "wrong-solution", "fails-solution"
    ]  # fmt: skip
    assert "ZeroDivisionError" in faults[2]


def test_student_folder_is_written_anew(tmp_path):
    executed = tmp_path / "executed" / "smoke"
    executed.mkdir(parents=True)
    shutil.copy(NOTEBOOKS[0], executed)
    stale = tmp_path / "student" / "notebooks" / "99_gone.ipynb"
    stale.parent.mkdir(parents=True)
    stale.touch()
    folder = editions.write(ROOT, tmp_path, "smoke")
    assert not stale.exists()
    with zipfile.ZipFile(folder / "notebooks.zip") as packed:
        names = {n for n in packed.namelist() if n.endswith(".ipynb")}
        assert names == {f"notebooks/{p.name}" for p in NOTEBOOKS}
        for name in names:
            assert b"{solution}" not in packed.read(name)
    (copy,) = (folder / "executed" / "smoke").glob("*.ipynb")
    assert "{solution}" not in copy.read_text(encoding="utf-8")


def test_otter_gets_a_test_for_each_exercise_that_asks_its_own_check(tmp_path):
    otter.write(NOTEBOOKS[0], tmp_path)
    for folder, kept, other in (
        (tmp_path, "exercise", "solution"),
        (tmp_path / "solved", "solution", "exercise"),
    ):
        notebook = nbformat.read(folder / NOTEBOOKS[0].name, 4)
        answers = cells_of(notebook, kept)
        assert len(answers) == 4
        assert not cells_of(notebook, other)
        assert "grader = otter.Notebook(" in notebook.cells[0].source
        for cell in answers:
            label = cell.id.removesuffix(f"-{kept}")
            test = (folder / "tests" / f"{label}.py").read_text(encoding="utf-8")
            compile(test, label, "exec")
            assert repr(cell.source.splitlines()[-1]) in test
            assert f'grader.check("{label}")' in text_of(notebook)


def make_student(build):
    return editions.main(["--root", str(build), "--build", str(build)])


def test_full_disk_is_no_traceback(tmp_path, monkeypatch, capsys):
    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(editions.publish, "main", lambda _: 0)
    monkeypatch.setattr(editions, "write", write)
    assert make_student(tmp_path) == 1
    said = capsys.readouterr().err
    assert said == f"cannot write to {tmp_path}: [Errno 28] No space left on device\n"


def test_two_student_editions_at_once_take_turns(tmp_path, monkeypatch):
    inside, most = [], []

    def write(*_):
        inside.append(1)
        time.sleep(0.2)
        most.append(len(inside))
        return tmp_path

    def render(*_):
        inside.pop()
        return True

    monkeypatch.setattr(editions.publish, "main", lambda _: 0)
    monkeypatch.setattr(editions, "write", write)
    monkeypatch.setattr(editions, "render", render)
    threads = [threading.Thread(target=make_student, args=[tmp_path]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]


# The checks: right answers pass, wrong ones do not, missing ones are neither.


@pytest.mark.parametrize("check", [ch1.predict, ch1.change, ch9.predict, ch6.critique])
def test_dots_are_no_answer(check):
    needed = len(inspect.signature(check).parameters)
    with pytest.raises(NotImplementedError, match="your turn"):
        check(*[...] * needed)


def test_prediction_is_compared_with_what_happens():
    data = mn.load_data("mnist-5k")
    with pytest.raises(ValueError, match="choose more or less"):
        ch1.predict("maybe", data)
    with pytest.raises(AssertionError, match="cross out"):
        ch1.predict("less", data)
    ch1.predict("more", data)


def test_masks_of_two_classes_are_told_apart():
    data = mn.load_data("mnist-5k")
    with pytest.raises(AssertionError, match="E_F"):
        ch1.change(90.0, 99.0, data)
    with pytest.raises(AssertionError, match="A_R"):
        ch1.change(99.9, 100.0, data)


def test_optimism_has_to_grow():
    with pytest.raises(AssertionError, match="winner"):
        ch1.critique(lambda n_draws, seed: 1.0)
    with pytest.raises(AssertionError, match="winner"):
        ch1.critique(lambda n_draws, seed: -n_draws / 10)
    with pytest.raises(AssertionError, match="one draw"):
        ch1.critique(lambda n_draws, seed: 60 + n_draws / 10)
    ch1.critique(lambda n_draws, seed: n_draws / 10)


def test_substitution_on_average_is_not_exact():
    def on_average(inputs, labels, codes, t_mix, generator):
        drawn = torch.rand(len(labels), generator=generator)
        return torch.where((drawn < t_mix)[:, None, None, None], codes[labels], inputs)

    def always_the_first(inputs, labels, codes, t_mix, generator):
        chosen = torch.arange(len(labels)) < 12
        return torch.where(chosen[:, None, None, None], codes[labels], inputs)

    with pytest.raises(AssertionError, match="12 of 40"):
        ch2.implement(on_average)
    with pytest.raises(AssertionError, match="equally often"):
        ch2.implement(always_the_first)


def test_square_of_the_mean_is_not_a_fisher_of_batches():
    def shortcut(model, inputs, labels, size):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        names = [name for name, _ in model.named_parameters()]
        return {n: g**2 for n, g in zip(names, gradients, strict=True)}

    with pytest.raises(AssertionError, match=r"batches of 1$"):
        ch3.change(shortcut)


def test_one_seed_is_no_finding():
    with pytest.raises(AssertionError, match="one seed"):
        ch9.critique(lambda ours, theirs: sum(ours) > sum(theirs))
    with pytest.raises(AssertionError, match="every seed"):
        ch9.critique(lambda ours, theirs: False)


def test_network_that_still_answers_is_not_mute(data):
    class Answers(nn.Module):
        def forward(self, inputs):
            return 9 * inputs.flatten(1)[:, ::6][:, :3]

    with pytest.raises((AssertionError, ValueError)):
        ch6.critique(Answers(), Answers(), data, 0)


def silenced(network):
    with torch.no_grad():
        for weight in network[-1].parameters():
            weight.zero_()
    return network


def test_network_that_lost_its_features_has_deleted_something(data):
    model = mn.build_model("mlp", data, seed=0)
    with pytest.raises(AssertionError, match="deleted something"):
        ch6.critique(silenced(mn.build_model("mlp", data, seed=1)), model, data, 0)
    ch6.critique(silenced(copy.deepcopy(model)), model, data, 0)


def test_audit_that_trains_the_network_itself_is_refused(data):
    networks = [mn.build_model("mlp", data, seed=seed) for seed in range(3)]

    def steps_back(network):
        silenced(network)
        return 0 if network is networks[0] else 5

    with pytest.raises(AssertionError, match="train a copy"):
        ch6.implement(steps_back, *networks)
    ch6.implement(lambda network: 0 if network is networks[0] else 5, *networks)


def test_another_class_or_another_network_is_not_what_was_asked_for(data):
    codes = mn.MnemonicCodes.draw(data, seed=0)
    model = mn.build_model("mlp", data, seed=0)
    other = quietly_forget(model, codes, [1], layers="last")
    with pytest.raises(AssertionError, match=r"forget \[0\]"):
        ch4.change(other, model, data, [0])
    with pytest.raises(AssertionError, match="another network"):
        ch12.change(0, model, codes, lambda seed, epochs: (other.model, codes))


def test_every_chapter_has_its_checks():
    assert exercises.__all__ == [f"ch{int(p.stem[:2])}" for p in NOTEBOOKS]


# The configuration of other formats.


def test_configuration_of_the_book_stays_as_it_is():
    base = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert formats.merged(base, {"a": {"c": [2]}, "e": 3}) == {
        "a": {"b": 1, "c": [2]}, "d": 2, "e": 3
    }  # fmt: skip
    assert base == {"a": {"b": 1, "c": [1]}, "d": 2}


@pytest.mark.parametrize("name", ["epub", "revealjs"])
def test_other_formats_change_the_one_configuration(tmp_path, name):
    import yaml

    options = formats.write_config(ROOT, tmp_path / "aside", formats.FORMATS[name])
    named = dict(zip(options[::2], options[1::2], strict=True))
    ours = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    theirs = yaml.safe_load(Path(named["--config"]).read_text(encoding="utf-8"))
    assert theirs["title"] == ours["title"]
    assert theirs["sphinx"]["config"]["html_math_renderer"] == "mathml"
    for folder in theirs["sphinx"]["local_extensions"].values():
        assert Path(folder).is_dir()
    assert not set(theirs["sphinx"]) & {"with", "without"}
    assert ("--toc" in named) == (name == "revealjs")


def test_pages_need_no_other_configuration(tmp_path):
    assert formats.write_config(ROOT, tmp_path / "aside", {}) == []
    assert not (tmp_path / "aside").exists()
