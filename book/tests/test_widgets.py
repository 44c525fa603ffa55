"""The widgets' arithmetic against the package's, and the widgets by mouse, finger and key."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

import widgets
from built import BOOK
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import MEAN, SAMPLE, STD
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.matmul import MatmulEpilog, matmul

STROKES = json.loads(Path(__file__).with_name("strokes.json").read_text())  # as a person draws
PAGES = widgets.WEIGHTS.parents[2]
STORED = json.loads(widgets.WEIGHTS.read_text().partition(".weights = ")[2].rstrip(";\n"))
STAGES = {epilog.name: [stage.__name__ for stage in s] for epilog, s in epilogs.STAGES.items()}
# The matrices that the fields hold, by name.
FIELDS = """() => Object.fromEntries([...document.querySelectorAll("[data-part=inputs] table")].map(
  (table) => [table.caption.textContent.split(" ")[0], [...table.tBodies[0].rows].map(
    (row) => [...row.querySelectorAll("input")].map(
      (field) => field.type === "checkbox" ? field.checked : field.valueAsNumber))]))"""
RUN = "(c) => FusionBook.epilog.run(c.epilog, c.a, c.b, c.inputs, c.order)"
CLASSIFY = """(images) => { const { network, weights } = window.FusionBook;
  return images.map((image) => network.forward(network.load(weights), image)); }"""


def sample_digits():
    """The sample's test digits, pixels 0 to 1, with their labels."""
    with np.load(SAMPLE) as sample:
        return sample["test_images"] / 255, sample["test_labels"]


def read(images):
    """The ten probabilities for each image, by the package's own class with the page's weights."""
    network = MnistNetNaive(784, widgets.HIDDEN, 10)
    for layer in ("hidden", "output"):
        part = STORED[layer]
        levels = np.frombuffer(base64.b64decode(part["levels"]), np.int8)
        weights = levels.reshape(len(part["scale"]), -1) * np.float32(part["scale"])[:, None]
        getattr(network, f"weights_{layer}")[...] = xp.asarray(weights)
        getattr(network, f"bias_{layer}")[...] = xp.asarray(part["bias"])
    return to_numpy(network.forward(xp.asarray((images - MEAN) / STD, xp.float32)))


def test_the_stored_weights_read_digits_as_well_as_the_page_says():
    images, labels = sample_digits()
    accuracy = (read(images).argmax(axis=1) == labels).mean()
    assert accuracy == pytest.approx(STORED["accuracy"], abs=0.02)
    assert accuracy > 0.95
    assert STORED["examples"] == widgets.example_digits()
    assert widgets.WEIGHTS.stat().st_size < 60_000


@pytest.mark.parametrize("name", ["draw_a_digit", "step_an_epilog"])
def test_without_javascript_the_page_says_so_and_hides_the_widget(name):
    source = (PAGES / f"{name}.md").read_text()
    assert "<noscript><p>This page needs JavaScript" in source
    assert re.search(r'<section class="widget" id="[a-z-]+" aria-label="[^"]+" hidden>', source)


def reference(epilog, fields):
    """What Python computes: extra inputs, d after each stage, the result, extra outputs.

    `fields` has a, b and the extra inputs as matrices, unpacked.
    """
    a = np.array(fields["a"], float, order="F" if epilog == MatmulEpilog.BGRADA else "C")
    b = np.array(fields["b"], float)
    inputs = {}
    for name in epilogs.input_names(epilog):
        values = np.array(fields[name])
        if name == "relu_aux":
            inputs[name] = epilogs.pack_mask(values)
        elif name == "gelu_aux":
            rows = -(-len(values) // epilogs.GELU_ROWS) * epilogs.GELU_ROWS
            inputs[name] = np.zeros((rows, values.shape[1]), order="F")
            inputs[name][: len(values)] = values
        else:
            inputs[name] = values.ravel().astype(float)
    call = epilogs.Call(a, b, inputs)
    steps = [a @ b]
    for stage in epilogs.STAGES[epilog]:
        d = steps[-1].copy()
        stage(d, call)
        steps.append(d)
    result = matmul(a, b, epilog=epilog, epilog_inputs=inputs or None)
    result = result[0] if isinstance(result, tuple) else result
    return inputs, steps, result, call.outputs


def open_page(visit, name, width=1300, **options):
    address = (BOOK / "book" / f"{name}.html").as_uri()
    return visit(address, viewport={"width": width, "height": 900}, **options)


def text(page, part):
    return page.inner_text(f"[data-part={part}]")


def draw(page, strokes, scale=1.0, shift=0):
    """Strokes by mouse, scaled and shifted on the drawing area."""
    page.locator("[data-part=pad]").scroll_into_view_if_needed()
    box = page.locator("[data-part=pad]").bounding_box()
    for stroke in strokes:
        for i, (x, y) in enumerate(stroke):
            right, down = ((scale * at + shift) / 280 for at in (x, y))
            page.mouse.move(box["x"] + box["width"] * right, box["y"] + box["height"] * down)
            if i == 0:
                page.mouse.down()
        page.mouse.up()


def test_the_network_in_the_page_is_the_one_in_python(visit):
    images = sample_digits()[0][:6]
    found = open_page(visit, "draw_a_digit").evaluate(CLASSIFY, images.tolist())
    np.testing.assert_allclose([one["probabilities"] for one in found], read(images), atol=1e-5)
    assert {len(one["hidden"]) for one in found} == {widgets.HIDDEN}


def test_drawings_become_images_like_those_of_mnist(visit):
    page = open_page(visit, "draw_a_digit")
    strokes = [STROKES[digit] for digit in STROKES]
    drawn = page.evaluate("(all) => all.map((s) => [...FusionBook.digit.fromStrokes(s)])", strokes)
    for images in (np.array(drawn), sample_digits()[0][:200]):
        for image in images.reshape(-1, 28, 28):
            rows, columns = np.nonzero(image.max(axis=1))[0], np.nonzero(image.max(axis=0))[0]
            assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
            mass = image.sum()
            assert abs(image.sum(axis=1) @ np.arange(28) / mass - 14) <= 0.55
            assert abs(image.sum(axis=0) @ np.arange(28) / mass - 14) <= 0.55
    assert 70 < np.sum(drawn) / len(drawn) < 130  # as much ink as MNIST has: 104 on average


def test_drawn_digits_are_recognized_at_any_size_and_place(visit):
    page = open_page(visit, "draw_a_digit")
    places = [(digit, 1, 0) for digit in STROKES] + [("3", 0.4, 5), ("3", 0.5, 130)]
    wrong = []
    for digit, scale, shift in places:
        draw(page, STROKES[digit], scale, shift)
        answer = page.locator(".widget-winner").inner_text().split()[0]
        assert text(page, "winner").startswith(f"The network reads a {answer} (")
        if answer != digit:
            wrong.append((digit, scale, answer))
        page.click("[data-part=clear]")
        assert text(page, "winner") == "Nothing drawn yet."
        assert page.locator(".widget-winner").count() == 0
    assert len(wrong) <= 1, wrong


def test_a_finger_draws(visit):
    page = open_page(visit, "draw_a_digit", has_touch=True)
    page.locator("[data-part=pad]").scroll_into_view_if_needed()
    box = page.locator("[data-part=pad]").bounding_box()
    touch = page.context.new_cdp_session(page)
    points = [{"x": box["x"] + x, "y": box["y"] + y} for x, y in STROKES["1"][0]]
    for kind, place in [("touchStart", points[:1])] + [("touchMove", [p]) for p in points[1:]]:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": place})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert text(page, "winner").startswith("The network reads a 1 (")


def test_digits_by_keyboard(visit):
    page = open_page(visit, "draw_a_digit")
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
    page, rng = open_page(visit, "step_an_epilog"), np.random.default_rng(0)
    assert page.evaluate("window.FusionBook.epilog.STAGES") == STAGES
    m, k, n = 10, 3, 3  # a column of the mask has two bytes
    for epilog in epilogs.STAGES:
        operands = {"a": rng.integers(-3, 4, (m, k)).tolist()}
        operands["b"] = rng.integers(-3, 4, (k, n)).tolist()
        fields = operands | {"bias": rng.integers(-3, 4, m), "relu_aux": rng.random((m, n)) < 0.6}
        fields["gelu_aux"] = rng.integers(-2, 3, (m, n))
        inputs, steps, result, outputs = reference(epilog, fields)
        flat = {name: x.ravel(order="K").tolist() for name, x in inputs.items()}
        order = "F" if epilog == MatmulEpilog.BGRADA else "C"
        case = operands | {"epilog": epilog.name, "inputs": flat, "order": order}
        found = page.evaluate(RUN, case)
        assert [step["stage"] for step in found["steps"]] == ["matmul", *STAGES[epilog.name]]
        np.testing.assert_allclose([step["d"] for step in found["steps"]], steps, atol=1e-9)
        assert found["order"] == ("F" if result.flags.f_contiguous else "C")
        np.testing.assert_allclose(found["memory"], result.ravel(order="K"), atol=1e-9)
        assert found["outputs"].keys() == outputs.keys()
        for name, x in outputs.items():
            np.testing.assert_allclose(found["outputs"][name], x.ravel(order="K"), atol=1e-9)


@pytest.mark.parametrize("width", [1300, 360])
def test_every_epilog_by_mouse(visit, width):
    page = open_page(visit, "step_an_epilog", width=width)
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
        _, _, result, _ = reference(epilog, page.evaluate(FIELDS))
        order = "column-major" if result.flags.f_contiguous else "row-major"
        assert text(page, "order") == order
        shown = page.locator("[data-part=memory] li span").all_inner_texts()
        elements = [float(cell.replace("−", "-")) for cell in shown]
        np.testing.assert_allclose(elements, result.ravel(order="K"), atol=5e-4)
        page.click("[data-part=back]")
        assert page.inner_text("[aria-current=step]") == stages[-2]
    page.click("[data-part=reset]")
    assert page.inner_text("[aria-current=step]") == "matmul"


def test_an_epilog_by_keyboard(visit):
    page = open_page(visit, "step_an_epilog")
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
    page = open_page(visit, "step_an_epilog")
    first = page.locator("[data-part=inputs] input").first
    before = text(page, "matrix")
    first.fill("")
    assert first.get_attribute("aria-invalid") == "true"
    assert text(page, "matrix") == before
    first.fill("2")
    assert first.get_attribute("aria-invalid") == "false"
    assert text(page, "matrix") != before
