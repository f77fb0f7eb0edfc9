"""The drawing of the method at the top of chapters 2 to 5."""

import importlib.util
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
STEPS_OF = {"02": (1, 2), "03": (3,), "04": (4,), "05": (5,)}


@pytest.fixture(scope="module")
def method():
    path = ROOT / "book" / "_extensions" / "method.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def without_light(html):
    return html.replace(' class="lit" aria-current="step"', "")


@pytest.mark.parametrize("lit", STEPS_OF.values())
def test_the_drawing_is_the_same_but_for_the_steps_lit(method, lit):
    html = method.drawing(lit)
    steps = ElementTree.fromstring(html)  # well-formed: an EPUB takes nothing else
    assert len(steps) == 5
    for i, step in enumerate(steps, 1):
        assert (step.get("aria-current") == "step") == (i in lit)
        assert (step.get("class") == "lit") == (i in lit)
        (picture,) = (e for e in step if e.tag.endswith("svg"))
        assert picture.get("role") == "img"
        assert len(picture.get("aria-label")) >= 20
    assert without_light(html) == without_light(method.drawing([1]))


@pytest.mark.parametrize("lit", [(), (0,), (6,), (1, 7)])
def test_a_step_that_is_none_is_refused(method, lit):
    with pytest.raises(ValueError, match="name some of 1 to 5"):
        method.drawing(lit)


def test_the_drawing_returns_with_the_current_step_lit():
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for i, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
            pattern = r"^```\{method-steps\} ([\d ]+)\n:name: fig-method-\w+\n\n.{40}"
            for steps in re.findall(pattern, "".join(cell["source"]), flags=re.M):
                assert i == 0
                found[path.name[:2]] = tuple(map(int, steps.split()))
    assert found == STEPS_OF
