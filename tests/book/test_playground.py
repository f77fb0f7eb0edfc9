"""The playground's arithmetic, run by Node, against the package."""

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import mnemonic as mn
from mnemonic.audits.diagnoses import brought_back

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "book" / "playground"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not on this machine")


def run(playground, program, **values):
    """What ``program`` gives: a JavaScript expression that sees ``given``."""
    pieces = [
        playground.script,
        *(
            (SCRIPTS / f"{name}.js").read_text(encoding="utf-8")
            for name in ("forgetting", "rows")
        ),
        f"const given = {json.dumps(values)};",
        "const F = Forgetting, page = F.decode(playgroundData);",
        f"process.stdout.write(JSON.stringify((() => {{ {program} }})()));",
    ]
    done = subprocess.run(
        [NODE, "-"],
        input="\n".join(pieces),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(done.stdout)


FORGET = """
  const codes = F.codeBatch(page.codes), images = F.imageBatch(page.images, page);
  const squared = F.squaredGradients(page.network, page.codes);
  return given.cases.map(({classes, strength}) => {
    const forgets = page.codes.map((_, c) => classes.includes(c));
    const eta = F.amplitude(squared, forgets);
    const rows = F.candidates(
      page.network, codes, eta, forgets, strength ? [strength] : F.GRID, [1, -1]
    );
    const {lambda1, lambda2, sign} = F.best(rows);
    const scales = F.scalesOf(F.largestOf(eta), lambda1, lambda2);
    const fresh = F.moved(page.network, eta, scales, sign);
    const {logits} = F.forward(fresh, images);
    const steps = F.stepsOf(page.network, fresh);
    return {
      lambda1, lambda2, sign, rows, scales,
      steps: Object.values(steps).map((s) => s.reduce((a, b) => Math.max(a, b))),
      scores: F.evaluate(logits, page.labels, forgets),
      answers: page.images.map(
        (_, i) => F.softmax(logits.subarray(10 * i, 10 * i + 10))
      ),
    };
  });
"""
CASES = [
    {"classes": [3], "strength": (1e-3, 10.0)},
    {"classes": [7], "strength": (0.03, 0.7)},
    {"classes": [0], "strength": (0.1, 1e5)},
    {"classes": [5], "strength": (1e-6, 0.1)},
    {"classes": [2, 5], "strength": (0.1, 10.0)},
    {"classes": [0, 2, 4, 6, 8], "strength": (0.01, 1.0)},
    {"classes": [3], "strength": None},
    {"classes": [1, 8], "strength": None},
]


@pytest.fixture(scope="module")
def forgotten(playground):
    return run(playground, FORGET, cases=CASES)


@pytest.mark.parametrize("i", range(len(CASES)), ids=lambda i: str(CASES[i]["classes"]))
def test_page_agrees_with_the_package(playground, forgotten, i):
    model, data, codes = playground.model, playground.data, playground.codes
    page, case = forgotten[i], CASES[i]
    strength = mn.Strength(*case["strength"]) if case["strength"] else None
    with warnings.catch_warnings():
        # in the smoke profile some codes are half learned
        warnings.simplefilter("ignore", RuntimeWarning)
        result = mn.forget(model, codes, case["classes"], strength=strength)
    assert page["sign"] == result.settings["sign"]
    assert [page["lambda1"], page["lambda2"]] == pytest.approx(
        [*vars(result.settings["strength"]).values()]
    )
    scores = mn.evaluate(result.model, data, case["classes"])
    inputs = data.inputs(data.test, torch.arange(len(data.test)))
    with torch.no_grad():
        answers = result.model(inputs).softmax(1)
    assert np.array(page["answers"]) == pytest.approx(answers.numpy(), abs=1e-4)
    # an image whose answer hangs by less than that may be counted on either side
    first, second = answers.topk(2).values.T
    room = 1e-4 + 100 * int((first - second < 1e-4).sum()) / 100
    found = page["scores"]
    assert found["classes"] == pytest.approx(scores.class_accuracies.tolist(), abs=room)
    assert found["remainingAccuracy"] == pytest.approx(
        scores.remaining_accuracy, abs=room
    )
    assert found["forgettingError"] == pytest.approx(scores.forgetting_error, abs=room)
    layers = result.layers.set_index("layer")
    order = ["1.weight", "1.bias", "3.weight", "3.bias"]  # w1, b1, w2, b2
    assert list(page["scales"].values()) == pytest.approx(
        layers["alpha"][order].tolist(), rel=1e-4
    )
    assert page["steps"] == pytest.approx(
        layers["largest_step"][order].tolist(), rel=1e-4
    )


@pytest.mark.parametrize("i", range(len(CASES)), ids=lambda i: str(CASES[i]["classes"]))
def test_page_scores_every_setting_on_the_codes_as_the_package_does(
    playground, forgotten, i
):
    model, codes = playground.model, playground.codes
    case = CASES[i]
    strength = mn.Strength(*case["strength"]) if case["strength"] else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result = mn.forget(
            model, codes, case["classes"], strength=strength, candidates=True
        )
    rows = forgotten[i]["rows"]
    assert len(rows) == (2 if strength else 98) == len(result.candidates)
    columns = {
        "lambda1": "lambda1", "lambda2": "lambda2", "sign": "sign",
        "remaining_accuracy": "remainingAccuracy",
        "forgetting_error": "forgettingError",
        "remaining_loss": "remainingLoss", "spares": "spares", "depth": "depth",
        "length": "length",
    }  # fmt: skip
    for ours, theirs in columns.items():
        found = np.array([row[theirs] for row in rows], dtype=float)
        assert found == pytest.approx(
            result.candidates[ours].to_numpy(float), rel=1e-4, abs=1e-4
        ), ours


BY_ROWS = """
  const { hidden } = F.forward(page.network, F.codeBatch(page.codes));
  const images = F.imageBatch(page.images, page);
  return given.cases.map(({ classes, rule, s, a, others }) => {
    const forgets = page.codes.map((_, c) => classes.includes(c));
    const fresh = Rows.replaced(page.network, hidden, forgets, rule, s);
    const { logits } = F.forward(fresh.network, images);
    const moved = (b) => Rows.attacked(logits, forgets, { a, b, others });
    const least = F.evaluate(logits, page.labels, forgets).remainingAccuracy - 2;
    const b = Rows.bestShift(moved(0), page.labels, forgets, least);
    return {
      s: fresh.s, least, b, found: F.evaluate(moved(b), page.labels, forgets),
      w2: Array.from(fresh.network.w2), b2: Array.from(fresh.network.b2),
      logits: Array.from(moved(0)),
    };
  });
"""
ROWS = [
    ([3], "turn", None, 1.0, False),
    ([0], "turn", 2.0, -1.0, False),
    ([8], "turn", 0.4, 2.0, False),
    ([2, 5], "turn", None, 0.25, False),
    ([3], "unseen", None, 1.0, False),
    ([1, 7], "unseen", None, -4.0, True),
    ([3], "off", None, 1.0, False),
    ([0], "off", None, 1.0, True),
    ([4, 9], "off", None, 0.0, False),
]


@pytest.fixture(scope="module")
def replaced(playground):
    names = ("classes", "rule", "s", "a", "others")
    cases = [dict(zip(names, case, strict=True)) for case in ROWS]
    return run(playground, BY_ROWS, cases=cases)


@pytest.mark.parametrize("i", range(len(ROWS)), ids=lambda i: str(ROWS[i]))
def test_rows_and_attacker_of_the_page_are_those_of_the_package(
    playground, replaced, i
):
    model, data, codes = playground.model, playground.data, playground.codes
    (classes, rule, s, a, others), page = ROWS[i], replaced[i]
    if rule == "off":
        access = mn.Access(data, classes, codes)
        network = mn.METHODS["deleted"](model, access).model
    else:
        with warnings.catch_warnings():
            # in the smoke profile some codes are half learned
            warnings.simplefilter("ignore", RuntimeWarning)
            result = mn.forget(model, codes, classes, rule=rule, strength=s)
        network = result.model
        if rule == "turn":
            assert page["s"] == pytest.approx(result.settings["strength"], rel=1e-4)
    head = network[-1]
    assert page["w2"] == pytest.approx(head.weight.flatten().tolist(), abs=1e-4)
    assert page["b2"] == pytest.approx(head.bias.tolist(), rel=1e-5, abs=1e-3)

    with torch.no_grad():
        logits = network(data.inputs(data.test)).double()
    if others:
        kept = [c for c in range(10) if c not in classes]
        logits[:, classes] = -logits[:, kept].sum(1, keepdim=True)
    logits[:, classes] *= a
    assert np.array(page["logits"]) == pytest.approx(
        logits.flatten().numpy(), rel=1e-4, abs=1e-3
    )
    asked = logits, data.test.labels
    expected = brought_back(asked, asked, classes, least=page["least"])
    assert page["b"] == pytest.approx(expected.shift, rel=1e-4, abs=1e-3)
    found = page["found"]  # an image that hangs by a hair may be on either side
    one_image = 100 / (100 * len(classes)) + 1e-6
    assert 100 - found["forgettingError"] == pytest.approx(
        expected.back.value, abs=one_image
    )
    assert found["remainingAccuracy"] >= page["least"]
    assert found["remainingAccuracy"] == pytest.approx(
        expected.remaining_accuracy.value, abs=0.2
    )


def test_page_shows_the_test_images_and_the_codes_as_they_are(playground):
    data, codes = playground.data, playground.codes
    found = run(
        playground,
        """return {images: page.images.map((i) => Array.from(i)),
                   codes: page.codes.map((c) => Array.from(c)),
                   labels: Array.from(page.labels)};""",
    )
    assert np.array_equal(found["images"], data.test.pixels.flatten(1).numpy())
    assert found["labels"] == data.test.labels.tolist()
    assert np.array_equal(
        np.array(found["codes"], np.float32), codes.images.flatten(1).numpy()
    )


def box_and_centre(image):
    image = np.array(image, float).reshape(28, 28)
    rows, columns = image.any(1).nonzero()[0], image.any(0).nonzero()[0]
    centre = [(image.sum(a) * np.arange(28)).sum() / image.sum() for a in (1, 0)]
    return max(np.ptp(rows), np.ptp(columns)) + 1, np.array(centre)


@pytest.mark.parametrize(("top", "left", "scale"), [(0, 0, 1), (90, 15, 6), (3, 25, 9)])
def test_drawings_are_scaled_and_centred_as_mnist_is(playground, top, left, scale):
    pixels = playground.data.test.pixels[:, 0].numpy()
    side = 280
    drawings = []
    for i in range(0, 1000, 200):
        ink = np.zeros((side, side), np.uint8)
        image = np.kron(pixels[i], np.ones((scale, scale)))
        ink[top : top + 28 * scale, left : left + 28 * scale] = image
        drawings.append(ink.flatten().tolist())
    found = run(
        playground,
        "return given.drawings.map((d) => Array.from(F.centred(d, 280)));",
        drawings=drawings,
    )
    for image, i in zip(found, range(0, 1000, 200), strict=True):
        size, centre = box_and_centre(image)
        assert size == 20
        assert np.abs(centre - 13.5).max() <= 0.5 + 1e-6
        # MNIST's own images went through this: little changes, but for a pixel's shift
        old = pixels[i].astype(float)
        new = np.array(image, float).reshape(28, 28)
        shifts = [
            np.corrcoef(np.roll(old, (a, b), (0, 1)).flat, new.flat)[0, 1]
            for a in (-1, 0, 1)
            for b in (-1, 0, 1)
        ]
        assert max(shifts) > 0.9


def test_an_empty_drawing_is_an_empty_image(playground):
    assert run(playground, "return F.centred(new Uint8Array(100), 10).length;") == 784
    assert not any(
        run(playground, "return Array.from(F.centred(new Uint8Array(100), 10));")
    )


def test_all_that_the_page_loads_is_below_a_megabyte(playground):
    files = sum(f.stat().st_size for f in SCRIPTS.iterdir())
    assert 5e5 < len(playground.script) + files < 1e6


def test_data_file_holds_nothing_but_data(playground):
    text = playground.script
    start = "globalThis.playgroundData = "
    assert text.startswith(start)
    json.loads(text.removeprefix(start).removesuffix(";\n"))
    for file in SCRIPTS.glob("*.js"):
        assert "eval(" not in file.read_text(encoding="utf-8")
        assert "innerHTML" not in file.read_text(encoding="utf-8")
