"""The pages in a browser: the playground, and what the theme adds to a chapter."""

import functools
import http.server
import json
import re
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import mnemonic as mn
from mnemonic.audits.diagnoses import brought_back
from mnemonic.audits.outputs import logits_of

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not here")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(book):
    """The folder of the book, and its address."""
    html = book.html

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield SimpleNamespace(
            html=html, address=f"http://127.0.0.1:{server.server_port}/"
        )
        server.shutdown()


@pytest.fixture
def visit(browser, site):
    """Open a page, by ``file:`` where asked; what went wrong on it fails the test."""
    contexts, faults = [], []

    def open_page(name, *, from_disk=False, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        base = f"{site.html.as_uri()}/" if from_disk else site.address
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda said: faults.append(said.text) if said.type == "error" else None,
        )
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((base, "data:", "blob:"))
                else faults.append(f"asks for {asked.url}")
            ),
        )
        page.goto(base + name)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def play(visit):
    """Open the playground, from the disk, and wait until it has spoken."""

    def open_playground(**options):
        page = visit("book/playground.html", from_disk=True, **options)
        sync_api.expect(page.get_by_role("status")).not_to_be_empty()
        return page

    return open_playground


def shown(page):
    """A_R and E_F as the page shows them."""
    return [
        float(page.locator(f"#pg-{name}").inner_text().split()[0])
        for name in ("ar", "ef")
    ]


def computed(playground, classes, strength=None, sign=None, rule="amplitude"):
    """The same, as the package computes them."""
    with warnings.catch_warnings():
        # in the smoke profile some codes are half learned
        warnings.simplefilter("ignore", RuntimeWarning)
        how = {"rule": rule, "strength": strength, "sign": sign}
        result = mn.forget(playground.model, playground.codes, classes, **how)
    scores = mn.evaluate(result.model, playground.data, classes)
    return result, [
        pytest.approx(value, abs=0.0501)  # one digit is shown
        for value in (scores.remaining_accuracy, scores.forgetting_error)
    ]


def slide(page, name, exponent):
    """Move a slider by the keyboard, from its left end, by tenths of a decade."""
    slider = page.get_by_label(name)
    slider.press("Home")
    start = float(slider.input_value())
    for _ in range(round(10 * (exponent - start))):
        slider.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(exponent)


def test_playground_opens_from_the_disk_with_what_the_codes_choose(play, playground):
    page = play()
    _, scores = computed(playground, [0])
    assert shown(page) == scores
    assert "profile smoke. These numbers mean nothing" in page.inner_text("#pg-facts")
    assert page.get_by_role("checkbox", checked=True).count() == 1
    assert page.get_by_label("forget 0").is_checked()
    page.get_by_role("button", name="The paper’s strength").click()
    _, scores = computed(playground, [0], mn.Strength(1e-3, 10.0))
    assert shown(page) == scores


def test_playground_by_mouse(play, playground):
    page = play()
    page.get_by_label("forget 5").click()
    page.get_by_label("forget 0").click()
    page.get_by_role("button", name="Choose on the codes").click()
    result, scores = computed(playground, [5])
    assert shown(page) == scores
    log = [float(page.locator(f"#pg-lambda{i}").input_value()) for i in (1, 2)]
    strength, sign = result.settings.values()
    assert [10**e for e in log] == pytest.approx([strength.lambda1, strength.lambda2])
    taken = page.locator("#pg-codes .pg-taken th").inner_text()
    assert taken == ("plus ✓" if sign == 1 else "minus ✓")

    page.get_by_label("plus" if sign == -1 else "minus").click()
    _, scores = computed(playground, [5], strength, -sign)
    assert shown(page) == scores

    box = page.get_by_label("caps the scale").bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_timeout(100)
    lambda1 = 10 ** float(page.locator("#pg-lambda1").input_value())
    assert lambda1 > strength.lambda1
    strength = mn.Strength(lambda1, strength.lambda2)
    _, scores = computed(playground, [5], strength, -sign)
    assert shown(page) == scores


def test_playground_reads_what_is_drawn(play, playground):
    page = play()
    pad = page.locator("#pg-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    x, top, bottom = box["x"] + 40, box["y"] + 15, box["y"] + box["height"] - 15
    page.mouse.move(x, top)
    page.mouse.down()
    page.mouse.move(x, bottom, steps=8)
    page.mouse.up()
    said = page.get_by_role("status")
    answer = "Your drawing: classified as 1 before, as 1 now"
    sync_api.expect(said).to_contain_text(answer)
    assert (
        page.get_by_role("radio", name="image").and_(page.locator(":checked")).count()
        == 0
    )
    seen = page.evaluate(
        """() => Array.from(document.getElementById("pg-seen").getContext("2d")
             .getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 0))"""
    )
    image = torch.tensor(seen, dtype=torch.uint8).reshape(1, 1, 28, 28)
    columns = image.flatten(0, 2).any(0).nonzero().flatten()
    assert columns.min() >= 11  # drawn on the left, and moved to the middle
    assert columns.max() <= 16
    data = playground.data
    inputs = (image / 255 - data.mean[0]) / data.std[0]
    with torch.no_grad():
        before = 100 * playground.model(inputs).softmax(1)[0]
    rows = page.locator("#pg-answers tbody tr").all()
    assert [int(row.locator("td").nth(1).inner_text()) for row in rows] == [
        pytest.approx(float(value), abs=0.501) for value in before
    ]
    page.get_by_role("button", name="Clear").click()
    sync_api.expect(said).to_contain_text("Test image")


def test_playground_by_keyboard(play, playground):
    page = play()
    page.get_by_label("forget 0").focus()
    page.keyboard.press("Space")  # no longer 0
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    checked = page.get_by_role("checkbox", checked=True)
    assert [box.get_attribute("value") for box in checked.all()] == ["1", "3"]
    slide(page, "caps the scale", -1.5)
    slide(page, "caps the step", 0.7)
    page.wait_for_timeout(100)
    assert page.get_by_label("caps the step").get_attribute("aria-valuetext") == "5"
    _, scores = computed(playground, [1, 3], mn.Strength(10**-1.5, 10**0.7))
    assert shown(page) == scores

    page.get_by_role("button", name="Choose on the codes").press("Enter")
    _, scores = computed(playground, [1, 3])
    assert shown(page) == scores

    page.get_by_label("codes choose").press("ArrowRight")
    assert page.get_by_label("minus", exact=True).is_checked()
    page.get_by_role("radio", name="a three").press("ArrowRight")
    said = page.get_by_role("status")
    sync_api.expect(said).to_contain_text("a four: classified as")
    code = page.get_by_role("radio", name="the code of 8")
    code.press("Space")
    sync_api.expect(said).to_contain_text("The code of 8: classified as")
    for control in (
        *(page.get_by_label(n) for n in ("forget 0", "caps the scale")),
        code,
    ):
        control.focus()
        page.keyboard.press("Shift")  # so that the focus counts as the keyboard's
        outline = control.evaluate(
            """(node) => [node, node.parentElement].map((n) =>
                 parseFloat(getComputedStyle(n).outlineWidth) *
                 (getComputedStyle(n).outlineStyle !== "none"))"""
        )
        assert max(outline) >= 2, control


def test_rules_and_attacker_by_keyboard(play, playground):
    page = play()
    before = mn.evaluate(playground.model, playground.data, [0]).remaining_accuracy

    def found(rule, strength=None, a=1.0):
        """A_R and E_F after the rule, and with the b that the package finds."""
        result, after = computed(playground, [0], strength, rule=rule)
        data = playground.data
        asked = logits_of(result.model, data, data.test), data.test.labels
        asked[0][:, 0] *= a
        least = min(before, mn.evaluate(result.model, data, [0]).remaining_accuracy)
        back = brought_back(asked, asked, [0], least=least - 2)
        # an image that hangs by a hair, of 900 and of 100, may be on either side
        kept = pytest.approx(back.remaining_accuracy.value, abs=0.2)
        return after, [kept, pytest.approx(100 - back.back.value, abs=1.06)]

    find = page.get_by_role("button", name="Find the best b")
    page.get_by_label("paper’s step").press("ArrowRight")
    assert page.get_by_label("turned row").is_checked()
    assert not page.get_by_label("caps the scale").is_visible()
    after, attacked = found("turn")
    assert shown(page) == after
    find.press("Enter")
    assert shown(page) == attacked

    slider = page.get_by_label("says how far")
    slider.press("End")
    for _ in range(4):
        slider.press("ArrowLeft")
    sync_api.expect(slider).to_have_attribute("aria-valuetext", "2.00")
    page.get_by_role("button", name="Undo").press("Enter")
    after, _ = found("turn", 2.0)
    assert shown(page) == after
    a = page.get_by_label("scales the logit")
    a.press("Home")
    for _ in range(12):
        a.press("ArrowRight")
    sync_api.expect(a).to_have_attribute("aria-valuetext", "−1.00")
    find.press("Enter")
    _, attacked = found("turn", 2.0, -1.0)
    assert shown(page) == attacked
    said = page.get_by_role("status")
    sync_api.expect(said).to_contain_text("turned row, s 2.00. Attacker with a −1")

    page.get_by_label("turned row").press("ArrowRight")
    after, attacked = found("unseen")
    assert shown(page) == after  # and the attacker begins anew
    find.press("Enter")
    assert shown(page) == attacked

    page.get_by_label("unseen row").press("ArrowRight")
    find.press("Enter")
    sync_api.expect(said).to_contain_text("No b brings any of the images back.")
    assert page.get_by_label("is added").get_attribute("aria-valuetext") == "0.0"
    assert shown(page)[1] == 100
    page.get_by_label("sum of the other logits").press("Space")
    find.press("Enter")
    assert shown(page)[1] < 50


TIMED = """async ([control, event]) => {
  const node = document.querySelector(control);
  if (node.type === "range") node.stepUp();
  if (node.type === "checkbox") node.checked = !node.checked;
  node.dispatchEvent(new Event(event));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return Number(document.getElementById("pg-facts").dataset.milliseconds);
}"""


@pytest.mark.parametrize(
    "change",
    [
        ("#pg-lambda1", "input"),
        ("#pg-lambda2", "input"),
        ("#pg-classes input", "change"),
        ("#pg-choose", "click"),
        ("[name=pg-rule][value=turn]", "change"),
        ("#pg-b", "input"),
        ("#pg-find", "click"),
    ],
    ids=lambda change: change[0],
)
def test_playground_answers_in_a_tenth_of_a_second(play, change):
    page = play()
    assert min(page.evaluate(TIMED, change) for _ in range(20)) < 100


def test_playground_says_when_there_is_nothing_to_do(play):
    page = play()
    page.get_by_label("forget 0").press("Space")
    sync_api.expect(page.get_by_role("status")).to_contain_text("Nothing moves")
    for name in ("Choose on the codes", "Find the best b"):
        page.get_by_role("button", name=name).click()
    for c in range(10):
        page.get_by_label(f"forget {c}").check()
    sync_api.expect(page.get_by_role("status")).to_contain_text("Nothing moves")
    page.get_by_label("forget 7").uncheck()
    sync_api.expect(page.get_by_role("status")).to_contain_text("Forgetting 0, 1, 2")


def test_every_control_and_picture_has_a_name(play):
    page = play()
    nameless = page.evaluate(
        """() => {
             const said = (n) => n.getAttribute("aria-label") || n.textContent.trim();
             return [...document.querySelectorAll("#pg :is(input, button, canvas)")]
               .filter((n) => !n.closest("[aria-hidden=true]"))
               .filter((n) => ![n, ...(n.labels ?? [])].some(said))
               .map((n) => n.outerHTML);
           }"""
    )
    assert nameless == []
    assert page.locator("#pg [role=status][aria-live=polite]").count() == 1


def orange(page):
    """The strongest colour in the map of the output layer."""
    return page.evaluate(
        """() => {
             const canvas = document.getElementById("pg-output-map");
             const { data } = canvas.getContext("2d").getImageData(0, 0, 66, 10);
             const at = 4 * 65;  // the bias of class 0
             return Array.from(data.slice(at, at + 3));
           }"""
    )


def test_playground_follows_the_theme_the_width_and_the_wish_for_rest(play):
    page = play(color_scheme="light")
    # a canvas keeps colours times their opacity, in whole numbers
    forget = pytest.approx([0xD5, 0x5E, 0x00], abs=3)  # plots.FORGET
    assert orange(page) == forget
    page = play(color_scheme="dark", reduced_motion="reduce")
    assert orange(page) != forget
    bar = page.locator(".pg-bar").first
    moves = bar.evaluate("(n) => getComputedStyle(n, '::before').transitionDuration")
    assert moves == "0s"
    page = play(viewport={"width": 390, "height": 844})
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0


def test_playground_without_scripts_says_so(visit):
    page = visit("book/playground.html", java_script_enabled=False)
    assert page.get_by_text("needs JavaScript").is_visible()
    assert not page.locator("#pg").is_visible()


CHAPTER = "notebooks/04_forgetting.html"


@pytest.mark.parametrize("from_disk", [False, True])
def test_search_finds_a_chapter(visit, from_disk):
    page = visit("book/playground.html", from_disk=from_disk)
    page.keyboard.press("Control+k")
    page.keyboard.type("expansion")
    page.keyboard.press("Enter")
    results = page.locator("#search-results li a")
    found = results.get_by_text(re.compile(r"^(\d+\. )?Forgetting$")).first
    found.click()
    title = page.get_by_role("heading", name="Forgetting", level=1)
    sync_api.expect(title).to_be_visible()


def test_dark_mode_can_be_chosen_and_is_kept(visit):
    page = visit(CHAPTER, color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    root, before = page.locator("html"), page.evaluate(background)
    for _ in range(3):  # light, dark, and what the system says
        if root.get_attribute("data-theme") == "dark":
            break
        page.locator("button.theme-switch-button").last.click()
    sync_api.expect(root).to_have_attribute("data-theme", "dark")
    assert page.evaluate(background) != before
    page.reload()
    sync_api.expect(root).to_have_attribute("data-theme", "dark")


def test_a_solution_is_folded_and_can_be_opened(visit):
    page = visit(CHAPTER)
    solution = page.locator(".solution").first
    text = solution.locator("p").last
    sync_api.expect(text).not_to_be_visible()
    solution.locator(":is(summary, button)").first.click()
    sync_api.expect(text).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_question_is_answered_by_keyboard_with_scripts_or_without(visit, scripts):
    page = visit(CHAPTER, java_script_enabled=scripts)
    question = page.get_by_role("group", name="largest amplitudes?", exact=False)
    answers = question.locator("details")
    for i, key in enumerate(("Enter", "Space")):
        said = answers.nth(i).locator("p")
        sync_api.expect(said).not_to_be_visible()
        if i == 0:
            answers.nth(i).locator("summary").focus()
        else:
            page.keyboard.press("Tab")
        page.keyboard.press(key)
        sync_api.expect(said).to_be_visible()
        sync_api.expect(said).to_contain_text(re.compile(r"^(Not right|Right)\. "))
    sync_api.expect(answers.nth(2).locator("p")).not_to_be_visible()


def test_a_code_cell_can_be_copied(visit):
    page = visit(CHAPTER, permissions=["clipboard-read", "clipboard-write"])
    cell = page.locator(".cell_input .highlight").filter(has_text="mn.forget(").first
    cell.hover()
    cell.locator("button.copybtn").click()
    notebook = json.loads(
        (ROOT / "notebooks" / "04_forgetting.ipynb").read_text(encoding="utf-8")
    )
    source = next(
        "".join(c["source"])
        for c in notebook["cells"]
        if c["cell_type"] == "code" and "mn.forget(" in "".join(c["source"])
    )
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.sub(r"\s+", " ", copied.strip()) == re.sub(r"\s+", " ", source.strip())
