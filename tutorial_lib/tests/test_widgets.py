"""The widgets' arithmetic against the package's, and the widgets by mouse, finger and key.

Needs Chromium and the built book: ``_build/html``, or the folder that `BOOK_HTML` names.
"""

import base64
import contextlib
import json
import re

import numpy as np
import pytest

from tutorial_lib import widgets
from tutorial_lib.dataset import MEAN, SAMPLE, STD
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.matmul import MatmulEpilog, matmul
from tutorial_lib.tests.browser import BOOK
from tutorial_lib.tests.strokes import STROKES

PAGES = widgets.WEIGHTS.parents[2]
CASES = json.loads(widgets.CASES.read_text())
STAGES = {epilog.name: [stage.__name__ for stage in s] for epilog, s in epilogs.STAGES.items()}
# The matrices that the fields hold, by name.
FIELDS = """() => Object.fromEntries([...document.querySelectorAll("[data-part=inputs] table")].map(
  (table) => [table.caption.textContent.split(" ")[0], [...table.tBodies[0].rows].map(
    (row) => [...row.querySelectorAll("input")].map(
      (field) => field.type === "checkbox" ? field.checked : field.valueAsNumber))]))"""
RUN = """(cases) => cases.map((c) =>
  window.FusionBook.epilog.run(c.epilog, c.a, c.b, c.inputs, c.a_order))"""


def sample_digits(indices):
    with np.load(SAMPLE) as sample:
        return sample["test_images"][list(indices)] / 255


def rounded(cases):
    return json.loads(json.dumps(cases), parse_float=lambda text: round(float(text), 9))


def test_stored_weights_give_the_stored_probabilities():
    stored = json.loads(widgets.WEIGHTS.read_text().partition(".weights = ")[2].rstrip(";\n"))
    assert stored["accuracy"] > 0.95
    assert widgets.WEIGHTS.stat().st_size < 60_000

    def affine(layer, x):
        part = stored[layer]
        levels = np.frombuffer(base64.b64decode(part["levels"]), np.int8)
        weights = levels.reshape(len(part["scale"]), -1) * np.array(part["scale"])[:, None]
        return x @ weights.T + part["bias"]

    x = (sample_digits(case["index"] for case in CASES["digits"]) - MEAN) / STD
    probabilities = 1 / (1 + np.exp(-affine("output", np.maximum(affine("hidden", x), 0))))
    np.testing.assert_allclose(
        probabilities, [case["probabilities"] for case in CASES["digits"]], atol=1e-5
    )


@pytest.mark.parametrize("name", ["draw_a_digit", "step_an_epilog"])
def test_without_javascript_the_page_says_so_and_hides_the_widget(name):
    source = (PAGES / f"{name}.md").read_text()
    assert "<noscript><p>This page needs JavaScript" in source
    assert re.search(r'<section class="widget" id="[a-z-]+" aria-label="[^"]+" hidden>', source)


def test_a_level_is_at_most_half_a_step_off(rng):
    weights = rng.normal(size=(5, 40)).astype(np.float32)
    levels, scale = widgets.quantize(weights)
    assert (np.abs(levels * scale[:, None] - weights) <= 0.501 * scale[:, None]).all()


def test_stored_epilog_cases_are_those_of_the_reference():
    assert rounded(widgets.epilog_cases()) == rounded(CASES["epilogs"])


def test_the_sample_is_not_enough_to_train_on(monkeypatch):
    monkeypatch.setattr(widgets, "find_mnist", lambda: None)
    with pytest.raises(SystemExit, match="full MNIST"):
        widgets.main()


@pytest.fixture
def visit(browser):
    """Opens a page of the book; at the end, no widget has complained or asked for anything."""
    with contextlib.ExitStack() as contexts:
        trouble = []

        def open_page(name, width=1300, **options):
            context = browser.new_context(viewport={"width": width, "height": 900}, **options)
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(5000)
            page.on(
                "pageerror",
                lambda e: trouble.append(e.stack) if "/_static/widgets/" in e.stack else 0,
            )
            page.on("console", lambda m: note(m) if "/_static/widgets/" in m.location["url"] else 0)
            page.on("request", lambda r: trouble.append(r.url) if remote(r.url) else 0)
            page.goto(f"{(BOOK / 'book' / name).resolve().as_uri()}.html")
            return page

        def note(message):
            trouble.append(message.text)

        def remote(url):
            return not url.startswith(("file:", "data:", "blob:"))

        yield open_page
        assert trouble == []


def text(page, part):
    return page.inner_text(f"[data-part={part}]")


def draw(page, strokes, scale=1.0, shift=0):
    """Strokes by mouse, scaled and shifted on the drawing area."""
    page.locator("[data-part=pad]").scroll_into_view_if_needed()
    box = page.locator("[data-part=pad]").bounding_box()
    for stroke in strokes:
        points = [(scale * x + shift, scale * y + shift) for x, y in stroke]
        points = [
            (box["x"] + box["width"] * x / 280, box["y"] + box["height"] * y / 280)
            for x, y in points
        ]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def test_the_network_in_the_page_is_the_one_in_python(visit):
    page = visit("draw_a_digit")
    images = sample_digits(case["index"] for case in CASES["digits"]).tolist()
    found = page.evaluate(
        """(images) => { const { network, weights } = window.FusionBook;
        return images.map((image) => network.forward(network.load(weights), image)); }""",
        images,
    )
    for case, result in zip(CASES["digits"], found):
        assert result["probabilities"] == pytest.approx(case["probabilities"], abs=1e-5)
        assert len(result["hidden"]) == widgets.HIDDEN


def test_drawings_become_images_like_those_of_mnist(visit):
    page = visit("draw_a_digit")
    strokes = [STROKES[digit] for digit in STROKES]
    drawn = page.evaluate("(all) => all.map((s) => [...FusionBook.digit.fromStrokes(s)])", strokes)
    for images in (np.array(drawn), sample_digits(range(200))):
        for image in images.reshape(-1, 28, 28):
            rows, columns = np.nonzero(image.max(axis=1))[0], np.nonzero(image.max(axis=0))[0]
            assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
            mass = image.sum()
            assert abs(image.sum(axis=1) @ np.arange(28) / mass - 14) <= 0.55
            assert abs(image.sum(axis=0) @ np.arange(28) / mass - 14) <= 0.55
    assert 70 < np.sum(drawn) / len(drawn) < 130  # as much ink as MNIST has: 104 on average


def test_a_drawn_3_is_recognized_at_any_size_and_place(visit):
    page = visit("draw_a_digit")
    for scale, shift in ((1, 0), (0.4, 5), (0.5, 130)):
        draw(page, STROKES[3], scale, shift)
        assert text(page, "winner").startswith("The network reads a 3 (")
        assert page.locator(".widget-winner").inner_text().split()[0] == "3"
        page.click("[data-part=clear]")
        assert text(page, "winner") == "Nothing drawn yet."
        assert page.locator(".widget-winner").count() == 0


def test_most_drawn_digits_are_recognized(visit):
    page = visit("draw_a_digit")
    read = {}
    for digit, strokes in STROKES.items():
        draw(page, strokes)
        read[digit] = text(page, "winner").partition(" (")[0][-1]
        page.click("[data-part=clear]")
    assert sum(str(digit) == answer for digit, answer in read.items()) >= 9, read


def test_a_finger_draws(visit):
    page = visit("draw_a_digit", has_touch=True)
    page.locator("[data-part=pad]").scroll_into_view_if_needed()
    box = page.locator("[data-part=pad]").bounding_box()
    touch = page.context.new_cdp_session(page)
    points = [{"x": box["x"] + x, "y": box["y"] + y} for x, y in STROKES[1][0]]
    for kind, place in [("touchStart", points[:1])] + [("touchMove", [p]) for p in points[1:]]:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": place})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert text(page, "winner").startswith("The network reads a 1 (")


def test_digits_by_keyboard(visit):
    page = visit("draw_a_digit")
    page.focus("[data-part=pad]")
    for key, times in (("ArrowUp", 8), ("Space", 1), ("ArrowDown", 16)):
        for _ in range(times):
            page.keyboard.press(key)
    assert text(page, "pen") == "Pen down."
    page.keyboard.press("Enter")
    assert text(page, "pen") == "Pen up."
    assert text(page, "winner").startswith("The network reads a 1 (")
    page.keyboard.press("Delete")
    assert text(page, "winner") == "Nothing drawn yet."
    for _ in range(2):  # past "Clear" to the first example, a 0
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert text(page, "winner").startswith("The network reads a 0 (")
    assert " of 30 open" in text(page, "units")


def test_epilogs_in_the_page_are_those_of_python(visit):
    page = visit("step_an_epilog")
    assert page.evaluate("window.FusionBook.epilog.STAGES") == STAGES
    for case, found in zip(CASES["epilogs"], page.evaluate(RUN, CASES["epilogs"])):
        assert [step["stage"] for step in found["steps"]] == [s["stage"] for s in case["steps"]]
        for step, expected in zip(found["steps"], case["steps"]):
            np.testing.assert_allclose(step["d"], expected["d"], atol=1e-9)
        assert found["order"] == case["order"]
        np.testing.assert_allclose(found["memory"], case["memory"], atol=1e-9)
        assert found["outputs"].keys() == case["outputs"].keys()
        for name, values in case["outputs"].items():
            np.testing.assert_allclose(found["outputs"][name], values, atol=1e-9)


def expected_memory(epilog, fields):
    """What Python computes from the fields: memory order's name and the elements as shown."""
    order = "F" if epilog == MatmulEpilog.BGRADA else "C"
    a, b = np.array(fields["a"], float, order=order), np.array(fields["b"], float)
    inputs = {}
    for name in epilogs.input_names(epilog):
        values = np.array(fields[name])
        if name == "relu_aux":
            inputs[name] = epilogs.pack_mask(values)
        elif name == "gelu_aux":
            inputs[name] = np.zeros((8, values.shape[1]), order="F")
            inputs[name][: len(values)] = values
        else:
            inputs[name] = values[:, 0].astype(float)
    d = matmul(a, b, epilog=epilog, epilog_inputs=inputs or None)
    d = d[0] if isinstance(d, tuple) else d
    return "column-major" if d.flags.f_contiguous else "row-major", d.ravel(order="K")


@pytest.mark.parametrize("width", [1300, 360])
def test_every_epilog_by_mouse(visit, width):
    page = visit("step_an_epilog", width=width)
    for epilog in epilogs.STAGES:
        page.select_option("[data-part=epilog]", epilog.name)
        stages = page.locator("[data-part=stages] li").all_inner_texts()
        assert stages == ["matmul", *STAGES[epilog.name], "write"]
        for stage in stages:
            assert page.inner_text("[aria-current=step]") == stage
            assert f", {stage}. " in text(page, "sentence")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if stage != "write":
                page.click("[data-part=next]")
        order, elements = expected_memory(epilog, page.evaluate(FIELDS))
        shown = page.locator("[data-part=memory] li span").all_inner_texts()
        assert text(page, "order") == order
        assert [float(cell.replace("−", "-")) for cell in shown] == pytest.approx(
            elements, abs=5e-4
        )
        page.click("[data-part=back]")
        assert page.inner_text("[aria-current=step]") == stages[-2]
    page.click("[data-part=reset]")
    assert page.inner_text("[aria-current=step]") == "matmul"


def test_an_epilog_by_keyboard(visit):
    page = visit("step_an_epilog")
    page.select_option("[data-part=epilog]", "DRELU_BGRAD")
    page.focus("[data-part=epilog]")
    page.keyboard.press("Tab")
    page.keyboard.type("9")  # the first element of a
    for _ in range(14):  # the rest of a and b, then the mask's first bit
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    fields = page.evaluate(FIELDS)
    assert fields["a"][0][0] == 9
    assert fields["relu_aux"][0] == [False, True, True, False]
    page.focus("[data-part=next]")
    for key in ("Enter", "Space", "Enter"):
        page.keyboard.press(key)
    d = np.array(fields["a"]) @ fields["b"] * np.array(fields["relu_aux"])
    sums = page.locator("[data-part=extra] tbody td:last-child").all_inner_texts()
    assert [int(value.replace("−", "-")) for value in sums] == d.sum(axis=1).tolist()


def test_a_field_that_is_no_number_is_marked_and_the_last_number_stays(visit):
    page = visit("step_an_epilog")
    first = page.locator("[data-part=inputs] input").first
    before = text(page, "matrix")
    first.fill("")
    assert first.get_attribute("aria-invalid") == "true"
    assert text(page, "matrix") == before
    first.fill("2")
    assert first.get_attribute("aria-invalid") == "false"
    assert text(page, "matrix") != before
