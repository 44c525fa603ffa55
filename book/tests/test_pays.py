"""The page that says whether fusion pays: its arithmetic, and what it shows by mouse and key."""

import json
import re

import numpy as np
import pytest

import pays
from built import BOOK
from tutorial_lib import results

STORED = json.loads(pays.MEASURED.read_text().partition(".measured = ")[2].rstrip(";\n"))
PAIRS = [
    (name, epilog) for name, all_ in STORED["points"].items() for epilog in all_ if all_[epilog]
]
GAIN = r"about ([\d.,]+) times as fast as product \+ ([a-zA-Z ]+) \(([\d.,]+) to ([\d.,]+)\)"
ESTIMATE = """(queries) => { const { measured, pays } = FusionBook; return queries.map((query) => {
  const card = typeof query.card === "string" ? measured.cards[query.card] : query.card;
  const { times, kind, errors } = pays.estimate(measured, { ...query, card });
  return [times, kind, errors]; }); }"""
JUDGE = "(cases) => cases.map(([gain, error]) => FusionBook.pays.judge(gain, error).word)"
COUNTS = """(calls) => calls.map((call) => FusionBook.pays.launched(
  FusionBook.measured, call, call.epilog ?? undefined).count)"""
MINE = {"bandwidth": 1.5, "peaks": dict.fromkeys(pays.BYTES, 70)}


@pytest.fixture
def page(visit):
    address = (BOOK / "book" / "does_fusion_pay.html").as_uri()
    return visit(address, viewport={"width": 1300, "height": 900})


def text(page, part):
    return page.inner_text(f"[data-part={part}]")


def number(shown):
    return float(shown.replace(",", ""))


def expected(arithmetic, epilog, size, card="H100"):
    """Python's times, and which errors hold."""
    figures = STORED["cards"][card] if isinstance(card, str) else card
    times = pays.estimate(STORED, arithmetic, epilog, size, figures)
    nearest = pays.octaves(pays.known(STORED, arithmetic, epilog)[0], size).min()
    kind = "far" if nearest > pays.FAR else "near"
    kind = "measured" if nearest == 0 and card == STORED["card"] else kind
    return times, kind, STORED["errors"][arithmetic][epilog][kind]


def check_answer(page, *query):
    """What the page says of a query is what Python computes."""
    times, kind, errors = expected(*query)
    shown = page.locator("[data-part=times] tr td:last-child").all_inner_texts()
    np.testing.assert_allclose([number(x) for x in shown], times, rtol=6e-3)
    word, said = text(page, "answer").split(": the fused call is ")
    for (gain, _, low, high), other, error in zip(re.findall(GAIN, said), times[2:], errors):
        ratios = other / times[1] * np.exp([0, -error, error])
        np.testing.assert_allclose(
            [number(x) for x in (gain, low, high)], ratios, atol=6e-3, rtol=6e-3
        )
        if other == times[2]:
            assert (word == "Yes") == (ratios[1] >= 1.05)
            assert (word == "No") == (ratios[2] <= 1 / 1.05)
    assert len(re.findall(GAIN, said)) == 2
    assert ("far from every measured size" in text(page, "notes")) == (kind == "far")
    assert ("Nothing was measured on" in text(page, "notes")) == (query[3:] not in [(), ("H100",)])


def test_the_stored_measurements_are_those_of_the_records():
    fusion = results.load("fusion")
    data = pays.collect(fusion, results.load("kernels"))
    assert pays.MEASURED.read_text() == pays.script(data | {"errors": pays.judge(data, fusion)})
    assert pays.MEASURED.stat().st_size < 60_000
    for row in fusion["points"]:  # where it was measured, the estimate is the measured time
        query = row["arithmetic"], row["epilog"], [row[name] for name in "mnk"]
        medians = [row[name][1] for name in pays.TIMED]
        np.testing.assert_allclose(expected(*query)[0], medians, rtol=1e-9)


def test_an_estimate_by_hand():
    card = {"bandwidth": 1, "peaks": {"float16": 1}}
    size = (100, 200, 300)  # 12 MFLOP; 120, 60 and 40 kB of operands and result
    matmul, fused, kernel, calls = pays.ideal("float16", "GELU_AUX_BIAS", size, card)
    assert matmul == fused == 1 + 12  # computing takes longer than moving 220 kB
    assert kernel == pytest.approx(2 + 12 + 3 * 0.04)
    assert calls == pytest.approx(11 + 12 + 23 * 0.04)
    card = {"bandwidth": 1, "peaks": {"float16": 1000}}
    assert pays.ideal("float16", "GELU_AUX_BIAS", size, card)[:2] == pytest.approx([1.22, 1.26])
    sizes, logs = np.array([[8, 8, 8], [8, 64, 8]]), np.array([[1.0] * 4, [4.0] * 4])
    assert pays.interpolate(sizes, logs, (8, 16, 8)) == pytest.approx([2] * 4)  # one of 3 octaves


@pytest.mark.parametrize(("kind", "reach"), [("near", 0), ("far", pays.FAR)])
def test_the_errors_are_those_of_estimates_without_the_point(kind, reach):
    arithmetic, epilog = "tf32", "DRELU_BGRAD"
    points, found = STORED["points"][arithmetic][epilog], []
    for at, _, *measured in points:
        size = np.array(STORED["sizes"][at])
        away = [np.sum(np.log2(size / STORED["sizes"][other]) ** 2) ** 0.5 for other, *_ in points]
        rest = [point for point, far in zip(points, away) if far > reach]
        fewer = STORED | {"points": {arithmetic: {epilog: rest}}}
        card = STORED["cards"]["H100"]
        fused, kernel, _ = pays.estimate(fewer, arithmetic, epilog, size, card)[1:]
        found.append(abs(np.log(kernel / fused) - np.log(measured[1] / measured[0])))
    assert np.mean(
        np.array(found) < STORED["errors"][arithmetic][epilog][kind][0]
    ) == pytest.approx(0.9, abs=0.03)


def test_the_page_computes_as_python_does(page):
    rng, queries = np.random.default_rng(0), []
    for i, (arithmetic, epilog) in enumerate(PAIRS * 10):
        size = np.exp2(rng.uniform(0, 17, 3)).astype(int).tolist()
        if i % 5 == 0:  # one that was measured
            points = STORED["points"][arithmetic][epilog]
            size = STORED["sizes"][points[rng.integers(len(points))][0]]
        card = ["H100", "H200", MINE][i % 3]
        queries.append({"arithmetic": arithmetic, "epilog": epilog, "size": size, "card": card})
    kinds = set()
    for query, (times, kind, errors) in zip(queries, page.evaluate(ESTIMATE, queries)):
        wanted = expected(**query)
        np.testing.assert_allclose(times, wanted[0], rtol=1e-9)
        assert (kind, errors) == wanted[1:]
        kinds.add(kind)
    assert kinds == {"measured", "near", "far"}


def test_the_page_knows_the_kernels_of_the_record_and_the_bytes_that_one_would_save(page):
    calls = [x for x in results.load("kernels")["calls"] if x["epilog"] in (None, *pays.CHAINS)]
    asked = [call | {"size": [call[name] for name in "mnk"]} for call in calls]
    names = [[kernel["name"] for kernel in call["kernels"]] for call in calls]
    counts = [sum("Memset" not in name for name in those) for those in names]
    assert page.evaluate(COUNTS, asked) == counts
    found = {(x["arithmetic"], x["epilog"], *x["size"]): n for x, n in zip(asked, counts)}
    for arithmetic in pays.BYTES:  # at the sizes with which the page opens
        page.select_option("[data-part=arithmetic]", arithmetic)
        epilogs = None, "RELU_AUX_BIAS"
        plain, fused = (found[arithmetic, epilog, 8192, 256, 784] for epilog in epilogs)
        shown = page.locator("[data-part=times] td:nth-child(2)").all_inner_texts()
        assert [int(x) for x in shown] == [plain, fused, plain + 1, plain + 3]
        more = "launches 1 kernel more than for" if fused > plain else "no more kernels"
        assert more in text(page, "notes")
        # the result, written and read once, and a mask in bytes rather than bits
        saved = (2 * pays.BYTES[arithmetic] + 7 / 8) * 8192 * 256 / 1e6
        assert f"moves {saved:.3g} MB less" in text(page, "notes")


def test_a_gain_is_judged_by_its_range(page):
    cases = {(1.3, 0.1): "Yes", (1.3, 0.3): "Probably", (1.04, 0.1): "About equal"}
    cases |= {
        (0.97, 0): "About equal",
        (0.9, 0.2): "Probably not",
        (0.8, 0.1): "No",
        (1.06, 0): "Yes",
    }
    assert page.evaluate(JUDGE, list(cases)) == list(cases.values())


@pytest.mark.parametrize("width", [1300, 360])
def test_every_choice_by_mouse(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    for button in page.locator("[data-preset]").all():
        button.click()
        *size, arithmetic, epilog = button.get_attribute("data-preset").split()
        check_answer(page, arithmetic, epilog, [int(x) for x in size])
    for part, value in [("m", "3000"), ("n", "70"), ("k", "12")]:
        page.fill(f"[data-part={part}]", value)
    for i, (arithmetic, epilog) in enumerate(PAIRS):
        card = ["H100", "H200"][i % 2]
        for part, value in zip(("arithmetic", "epilog", "gpu"), (arithmetic, epilog, card)):
            page.select_option(f"[data-part={part}]", value)
        check_answer(page, arithmetic, epilog, [3000, 70, 12], card)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    rows = page.locator("[data-part=points] tr").all_inner_texts()
    sizes = [[int(x.replace(",", "")) for x in row.split("\t")[0].split("×")] for row in rows]
    away = pays.octaves(np.array(sizes), [3000, 70, 12])
    assert len(rows) == 5
    assert sorted(away) == list(away)
    assert away[0] == pays.octaves(pays.known(STORED, *PAIRS[-1])[0], [3000, 70, 12]).min()


def test_a_question_by_keyboard(page):
    page.focus("[data-preset]")
    for key in ["Tab", "Enter", "Tab", "Tab", "Tab"]:  # the second example, and on to M
        page.keyboard.press(key)
    for typed in ("4000", "512", "90"):
        page.keyboard.press("Control+A")
        page.keyboard.type(typed)
        page.keyboard.press("Tab")
    for key in ["ArrowDown", "Tab", "End", "Tab", "ArrowDown"]:
        page.keyboard.press(key)
    check_answer(page, "tf32", "DGELU_BGRAD", [4000, 512, 90], "H200")


@pytest.mark.parametrize("typed", ["0", "-1", "", "1e9", "3.5", "131073"])
def test_a_size_that_is_none_is_marked_and_leaves_no_answer(page, typed):
    for part in "mnk":
        page.fill(f"[data-part={part}]", typed)
        wrong = f"{part.upper()} must be a whole number from 1 to 131,072."
        assert page.inner_text(f"#pays-{part}-wrong") == wrong
        assert page.get_attribute(f"[data-part={part}]", "aria-invalid") == "true"
        assert text(page, "answer") == f"No answer: {wrong}"
        assert not page.is_visible("[data-part=results]")
        page.fill(f"[data-part={part}]", "131072")
        assert page.inner_text(f"#pays-{part}-wrong") == ""
        assert page.is_visible("[data-part=results]")
    check_answer(page, "float32", "RELU_AUX_BIAS", [131072] * 3)


def test_my_own_card(page):
    assert not page.is_visible("[data-part=own]")
    page.select_option("[data-part=gpu]", "mine")
    query = ["float32", "RELU_AUX_BIAS", [8192, 256, 784]]
    check_answer(page, *query, STORED["cards"]["H100"])  # until it is filled in
    page.fill("[data-part=bandwidth]", str(MINE["bandwidth"]))
    page.fill("[data-part=peak]", "70")
    check_answer(page, *query, MINE)
    page.select_option("[data-part=arithmetic]", "float16")  # whose peak is another
    check_answer(page, "float16", *query[1:], STORED["cards"]["H100"] | {"bandwidth": 1.5})
    page.select_option("[data-part=arithmetic]", "float32")
    check_answer(page, *query, MINE)
    page.fill("[data-part=peak]", "0")
    assert "TFLOP/s must be a number from 0.1 to 100,000." in text(page, "answer")
    for arithmetic in ("tf32", "float32"):  # what was last right is kept
        page.select_option("[data-part=arithmetic]", arithmetic)
    check_answer(page, *query, MINE)
    page.fill("[data-part=peak]", "")
    page.select_option("[data-part=gpu]", "H200")  # a field that is not there cannot be wrong
    check_answer(page, *query, "H200")


def test_the_worked_example_is_what_the_page_says(page):
    prose = " ".join((pays.MEASURED.parents[2] / "does_fusion_pay.md").read_text().split())
    prose = prose.partition("**A worked example.**")[2].partition(" ## ")[0]
    stated, expected_numbers = re.findall(r"(\d+\.\d+)", prose), []
    for arithmetic, word in {"tf32": "No", "bfloat16": "Yes"}.items():
        page.select_option("[data-part=arithmetic]", arithmetic)
        times = page.locator("[data-part=times] td:last-child").all_inner_texts()[:3]
        expected_numbers += times[arithmetic == "bfloat16" :]  # there without the plain product
        said = text(page, "answer")
        assert said.startswith(f"{word}: ")
        expected_numbers.append(re.findall(GAIN, said)[0][0])
    assert [*map(float, stated)] == [*map(float, expected_numbers)]
    assert re.findall(r'"(\w+)"', prose) == ["No", "Yes"]


def test_only_the_epilog_that_leaves_a_mask_points_to_the_way_without_it(page):
    for epilog in pays.CHAINS:
        page.select_option("[data-part=epilog]", epilog)
        assert page.is_visible("[data-part=mask]") == (epilog == "RELU_AUX_BIAS")


def test_what_was_not_measured_or_not_counted_is_said(page):
    page.evaluate("FusionBook.measured.kernels.float32.RELU_BIAS = []")
    page.evaluate("FusionBook.measured.points.tf32.RELU_BIAS = []")
    page.select_option("[data-part=epilog]", "RELU_BIAS")
    assert "were not counted" in text(page, "notes")
    assert page.locator("[data-part=times] td").nth(2).inner_text() == "–"
    page.select_option("[data-part=arithmetic]", "tf32")
    assert text(page, "answer") == "No answer: RELU_BIAS was not measured in tf32."
    assert not page.is_visible("[data-part=results]")
