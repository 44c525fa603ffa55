"""The widgets' arithmetic against the package's, and the widgets by mouse, finger and key."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

import widgets
from built import BOOK
from built import PAGES as BUILT
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import MEAN, SAMPLE, STD
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.matmul import MatmulEpilog, matmul

STROKES = json.loads(Path(__file__).with_name("strokes.json").read_text())  # as a person draws
ROOT = widgets.WEIGHTS.parents[3]
STORED = json.loads(widgets.WEIGHTS.read_text().partition(".weights = ")[2].rstrip(";\n"))
STAGES = {epilog.name: [stage.__name__ for stage in s] for epilog, s in epilogs.STAGES.items()}
PLACES = [  # each widget, its page, and the chapters that have it, too
    ("digit", "book/draw_a_digit", ["notebooks/02_network_and_loss", "notebooks/04_naive_cupy"]),
    ("epilog", "book/step_an_epilog", ["notebooks/05_matmul_and_epilogs"]),
    ("pays", "book/does_fusion_pay", ["notebooks/07_is_it_fused"]),
]
CLICK = {"digit": "[aria-label$=' 4 from the test images']", "epilog": "[data-part=next]"}
CLICK["pays"] = "[data-preset^='16384']"
# The matrices that the fields hold, by name.
FIELDS = """() => Object.fromEntries([...document.querySelectorAll("[data-part=inputs] table")].map(
  (table) => [table.caption.textContent.split(" ")[0], [...table.tBodies[0].rows].map(
    (row) => [...row.querySelectorAll("input")].map(
      (field) => field.type === "checkbox" ? field.checked : field.valueAsNumber))]))"""
RUN = "(c) => FusionBook.epilog.run(c.epilog, c.a, c.b, c.inputs, c.order)"
PARTS = ["[data-part=winner]", "[data-part=pad]", "[data-part=probabilities] li"]
SEEN = """(elements) => elements.map((element) => {
  const { left, right, top, bottom } = element.getBoundingClientRect();
  return [top + 2, (top + bottom) / 2, bottom - 2].every(
    (y) => element.contains(document.elementFromPoint((left + right) / 2, y))); })"""
FROM_STROKES = "(all) => all.map((one) => [...FusionBook.digit.fromStrokes(one)])"
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


def test_each_place_in_a_chapter_follows_a_link_to_the_page_of_the_same_widget():
    """Where no script of the book runs, the link is all that there is."""
    for name, page, chapters in PLACES:
        place = f'<div data-widget="{name}"></div>'
        assert place in (ROOT / f"{page}.md").read_text()
        for chapter in chapters:
            cells = json.loads((ROOT / f"{chapter}.ipynb").read_text())["cells"]
            text = "\n\n".join("".join(cell["source"]) for cell in cells)
            paragraphs = text.split("\n\n")
            at = paragraphs.index(place.replace(">", ' class="d-print-none">', 1))
            assert f"(../{page}.md)" in paragraphs[at - 1]


@pytest.mark.parametrize(("name", "page", "chapters"), PLACES)
def test_a_widget_in_a_chapter_answers_as_on_its_page(visit, name, page, chapters):
    shown = []
    for place in (page, *chapters):
        opened = open_page(visit, place)
        opened.click(CLICK[name])
        shown.append(opened.inner_text("section.widget"))
        opened.emulate_media(media="print")
        assert opened.is_visible("section.widget") == (place == page)
    assert shown == shown[:1] * len(shown)


@pytest.mark.parametrize("page", BUILT, ids=str)
def test_only_a_page_with_a_widget_loads_its_scripts(page):
    html, here = (BOOK / page).read_text(), str(page.with_suffix(""))
    names = re.findall(r'<section class="widget[^>]* id="(\w+)-widget"[^>]* hidden>', html)
    assert names == [name for name, *places in PLACES if here in (places[0], *places[1])]
    assert html.count("<noscript><p>") == len(names)
    assert ("_static/widgets/" in html) == bool(names)
    for script, name in {"weights": "digit", "epilog": "epilog", "measured": "pays"}.items():
        assert (f"widgets/{script}.js" in html) == (name in names)


PACK = {  # an extra input as Python wants it, from the matrix that the page shows
    "bias": lambda x: x.ravel().astype(float),
    "relu_aux": epilogs.pack_mask,
    "gelu_aux": lambda x: np.pad(x.astype(float, order="F"), [(0, -len(x) % 8), (0, 0)]),
}


def reference(epilog, fields):
    """What Python computes from matrices: the call, d after each stage, the result."""
    a = np.array(fields["a"], float, order="F" if epilog == MatmulEpilog.BGRADA else "C")
    inputs = {name: PACK[name](np.array(fields[name])) for name in epilogs.input_names(epilog)}
    call = epilogs.Call(a, np.array(fields["b"], float), inputs)
    steps = [call.a @ call.b]
    for stage in epilogs.STAGES[epilog]:
        steps.append(steps[-1].copy())
        stage(steps[-1], call)
    result = matmul(call.a, call.b, epilog=epilog, epilog_inputs=inputs or None)
    return call, steps, result[0] if isinstance(result, tuple) else result


def open_page(visit, name, width=1300, height=900, **options):
    address = (BOOK / f"{name}.html").as_uri()
    return visit(address, viewport={"width": width, "height": height}, **options)


def text(page, part):
    return page.inner_text(f"[data-part={part}]")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def numbers(page, selector):
    return [float(x.replace("−", "-")) for x in page.locator(selector).all_inner_texts()]


def pad_of(page):
    """The corner of the drawing area, and its width."""
    page.locator("[data-part=pad]").scroll_into_view_if_needed()
    box = page.locator("[data-part=pad]").bounding_box()
    return np.array([box["x"], box["y"]]), box["width"]


def test_the_page_computes_as_python_does_on_images_like_those_of_mnist(visit):
    page, images = open_page(visit, "book/draw_a_digit"), sample_digits()[0][:200]
    found = page.evaluate(CLASSIFY, images[:6].tolist())
    np.testing.assert_allclose([x["probabilities"] for x in found], read(images[:6]), atol=1e-5)
    assert {len(one["hidden"]) for one in found} == {widgets.HIDDEN}
    drawn = page.evaluate(FROM_STROKES, list(STROKES.values()))
    for image in np.concatenate([drawn, images]).reshape(-1, 28, 28):
        profiles = np.array([image.sum(axis=1), image.sum(axis=0)])
        assert max(np.ptp(np.nonzero(profile)) for profile in profiles) + 1 == 20
        assert np.max(abs(profiles @ np.arange(28) / image.sum() - 14)) <= 0.55
    assert 70 < np.sum(drawn) / len(drawn) < 130  # as much ink as MNIST has: 104 on average


def test_drawn_digits_are_recognized_at_any_size_and_place(visit):
    page, wrong = open_page(visit, "book/draw_a_digit"), []
    corner, width = pad_of(page)
    places = [(digit, 1, 0) for digit in STROKES] + [("3", 0.4, 5), ("3", 0.5, 130)]
    for digit, scale, shift in places:
        for stroke in STROKES[digit]:
            points = corner + (scale * np.array(stroke) + shift) * width / 280
            page.mouse.move(*points[0])
            page.mouse.down()
            for point in points[1:]:
                page.mouse.move(*point)
            page.mouse.up()
        answer = page.locator(".widget-winner").inner_text().split()[0]
        assert text(page, "winner").startswith(f"It reads a {answer} (")
        wrong += [(digit, scale, answer)] * (answer != digit)
        page.click("[data-part=clear]")
        assert text(page, "winner") == "Nothing drawn yet."
        assert page.locator(".widget-winner").count() == 0
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("place", [PLACES[0][1], *PLACES[0][2]])
def test_on_a_phone_the_answer_is_seen_while_a_finger_draws(visit, place):
    page = open_page(
        visit, place, 360, 740, has_touch=True, is_mobile=True, reduced_motion="reduce"
    )
    page.evaluate("async () => { await window.MathJax?.startup?.promise }")  # it moves what follows
    touch, pad = page.context.new_cdp_session(page), page.locator("[data-part=pad]")
    where = {"start": PARTS[1:], "center": PARTS, "end": PARTS[:-1]}  # of the window, the pad
    for block, parts in where.items():
        pad.evaluate("(pad, block) => pad.scrollIntoView({ block })", block)
        before = pad.bounding_box()
        corner, scale = np.array([before["x"], before["y"]]), before["width"] / 280
        points = [[{"x": x, "y": y}] for x, y in corner + scale * np.array(STROKES["1"][0])]
        for kind, at in [("Start", points[0]), *(("Move", point) for point in points[1:])]:
            touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": at})
        assert text(page, "winner").startswith("It reads a 1 (")
        assert page.locator(".widget-winner").inner_text().startswith("1")
        assert [part for part in parts if not all(page.locator(part).evaluate_all(SEEN))] == []
        assert pad.bounding_box() == before
        assert page.text_content("[data-part=spoken]") == "Nothing drawn yet."  # until it is done
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert page.text_content("[data-part=spoken]") == text(page, "winner")
        page.locator("[data-part=clear]").evaluate("(clear) => clear.click()")


def test_digits_by_keyboard(visit):
    page = open_page(visit, "book/draw_a_digit")
    page.focus("[data-part=pad]")
    for keys, part, said in [
        (["ArrowUp"] * 8 + ["Space"] + ["ArrowDown"] * 16, "pen", "Pen down."),
        (["Enter"], "pen", "Pen up."),
        ([], "winner", "It reads a 1 ("),
        (["Delete"], "winner", "Nothing drawn yet."),
        (["Tab", "Tab", "Enter"], "winner", "It reads a 0 ("),  # the first example
        ([], "units", " of 30 open"),
    ]:
        press(page, *keys)
        assert said in text(page, part)


def test_epilogs_in_the_page_are_those_of_python(visit):
    page, rng = open_page(visit, "book/step_an_epilog"), np.random.default_rng(0)
    assert page.evaluate("window.FusionBook.epilog.STAGES") == STAGES
    m, k, n = 10, 3, 3  # a column of the mask has two bytes
    shapes = {"a": (m, k), "b": (k, n), "bias": m, "gelu_aux": (m, n)}
    for epilog in epilogs.STAGES:
        fields = {name: rng.integers(-3, 4, shape) for name, shape in shapes.items()}
        fields["relu_aux"] = rng.random((m, n)) < 0.6
        call, steps, result = reference(epilog, fields)
        case = {name: fields[name].tolist() for name in "ab"} | {"epilog": epilog.name}
        case["inputs"] = {name: x.ravel(order="K").tolist() for name, x in call.inputs.items()}
        case["order"] = "F" if call.a.flags.f_contiguous else "C"
        found = page.evaluate(RUN, case)
        np.testing.assert_allclose([step["d"] for step in found["steps"]], steps, atol=1e-9)
        assert found["order"] == ("F" if result.flags.f_contiguous else "C")
        assert found["outputs"].keys() == call.outputs.keys()
        for name, x in {"memory": result, **call.outputs}.items():
            flat = (found["outputs"] | found)[name]
            np.testing.assert_allclose(flat, x.ravel(order="K"), atol=1e-9)


@pytest.mark.parametrize("width", [1300, 360])
def test_every_epilog_by_mouse(visit, width):
    page = open_page(visit, "book/step_an_epilog", width=width)
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
        *_, result = reference(epilog, page.evaluate(FIELDS))
        assert text(page, "order") == ["row-major", "column-major"][result.flags.f_contiguous]
        shown = numbers(page, "[data-part=memory] li span")
        np.testing.assert_allclose(shown, result.ravel(order="K"), atol=5e-4)
        page.click("[data-part=back]")
        assert page.inner_text("[aria-current=step]") == stages[-2]
    page.click("[data-part=reset]")
    assert page.inner_text("[aria-current=step]") == "matmul"


def test_an_epilog_by_keyboard_where_a_field_without_a_number_is_marked(visit):
    page = open_page(visit, "book/step_an_epilog")
    page.select_option("[data-part=epilog]", "DRELU_BGRAD")
    page.focus("[data-part=epilog]")
    press(page, "Tab")
    before, first = text(page, "matrix"), page.locator("[data-part=inputs] input").first
    for key, invalid in (("Delete", "true"), ("9", "false")):  # in the first element of a
        assert text(page, "matrix") == before  # the last number stays
        press(page, key)
        assert first.get_attribute("aria-invalid") == invalid
    press(page, *["Tab"] * 14, "Space")  # past the rest of a and b, to the mask's first bit
    fields = page.evaluate(FIELDS)
    assert fields["a"][0][0] == 9
    assert fields["relu_aux"][0] == [False, True, True, False]
    page.focus("[data-part=next]")
    press(page, "Enter", "Space", "Enter")
    d = np.array(fields["a"]) @ fields["b"] * np.array(fields["relu_aux"])
    assert numbers(page, "[data-part=extra] tbody td:last-child") == d.sum(axis=1).tolist()
