"""The records, and what the README says of them."""

import pytest

from tutorial_lib import results
from tutorial_lib.benchmarks import (
    choices,
    counters,
    eight_bits,
    elementwise,
    errors,
    fusion,
    matmuls,
    own_epilog,
    profiler,
    readme,
    timeline,
)
from tutorial_lib.distributed import scaling

README = readme.README.read_text()
SOURCES = {
    "choices": choices.SOURCES,
    "counters": counters.SOURCES,
    "elementwise": elementwise.SOURCES,
    "errors": errors.SOURCES,
    "fp8": eight_bits.SOURCES,
    "fusion": fusion.SOURCES,
    "kernels": profiler.SOURCES,
    "matmuls": matmuls.SOURCES,
    "own_epilog": own_epilog.SOURCES,
    "phases": timeline.PHASE_SOURCES,
    "scaling": scaling.SOURCES,  # by `python -m tutorial_lib.distributed.scaling`, as the next
    "scaling_gloo_cpu": scaling.SOURCES,
    "step_timeline": timeline.SOURCES,  # by the command `timeline`
}


def test_records_name_machine_and_versions():
    for path in results.RESULTS.glob("*.json"):
        record = results.load(path.stem)
        assert all(record[name] for name in ("what", "machine", "versions"))
        assert path.stem in SOURCES or not record.get("sources")


@pytest.mark.parametrize("name", SOURCES)
def test_no_record_is_older_than_the_code_that_it_measured(name):
    record, again = results.load(name), f"measure again: python -m tutorial_lib.benchmarks {name}"
    assert set(record["sources"]) == set(SOURCES[name]), again
    assert not results.stale(record), again


def test_the_table_in_the_readme_is_that_of_the_record():
    networks = results.load("published_run_cpu")["networks"]
    assert f"{readme.PUBLISHED}\n{readme.published(networks)}\n{readme.END}" in README
    for network in networks.values():
        assert network["correct"] == 9131
        for batch, loss in results.load("published_h200")["losses"].items():
            assert network["losses"][batch] == pytest.approx(loss, abs=1e-6)


def test_the_record_in_the_readme_is_that_of_the_ladder():
    ladder = results.load("ladder")
    assert f"{readme.BEGIN}\n{readme.ladder(ladder)}\n{readme.END}" in README
    assert ladder["backend"] == "gpu"
    assert ladder["widths"] == [30, 512, 8192]
    for contestant in ladder["contestants"]:
        for outcome in contestant["widths"].values():
            assert outcome.get("repeats", True), contestant["name"]  # as README says


def test_the_numbers_in_the_readme_are_those_of_the_records():
    text = " ".join(README.split())
    epochs = results.load("published_h200")["epoch_milliseconds"]
    fused, plain = (epochs[f"images on the GPU, {n} network"]["30"] for n in ("fused", "naive"))
    assert f"slower fused than plain, {fused} ms against {plain} ms for an epoch" in text
    points = [p for p in results.load("fusion")["points"] if p["m"] == p["n"] == 8192]
    points = [p for p in points if p["epilog"] == "RELU_BIAS" and p["k"] <= 1024]
    gains = [point["one kernel"][1] / point["fused"][1] for point in points]
    assert f"{min(gains):.1f} to {max(gains):.1f} times as fast as product + kernel" in text
    record = results.load("conformance")
    assert f"on an {record['machine'][11:15]}: {record['matmul']['cases']:,} matmuls" in text
    assert len(record["questions"]["answers"]) > 200
    networks = results.load("published_run_gpu")["networks"].values()
    assert {network["correct"] for network in networks} == {9131}


def test_the_times_of_the_own_kernel_on_the_first_pages_are_those_of_its_record():
    rows = results.load("own_epilog")["rows"]
    row, tf32 = (
        results.find(rows, arithmetic=arithmetic, epilog="RELU_AUX_BIAS", m=8192)
        for arithmetic in ("float32", "tf32")
    )
    own, fused = (f"{row[form]['us'][1]:.0f}" for form in ("own", "fused"))
    index = " ".join((readme.README.parent / "book" / "index.md").read_text("utf-8").split())
    assert f"takes {own} µs instead of {fused} in float32" in README
    assert f"the mask in {own} µs; cuBLASLt's two kernels take {fused} (" in index
    own_tf32, fused_tf32 = (f"{tf32[form]['us'][1]:.0f}" for form in ("own", "fused"))
    assert f"the times are {own_tf32} µs and {fused_tf32} µs" in index
    assert f"the times are {own_tf32} µs and {fused_tf32} µs" in README


def test_the_lead_over_the_peers_in_the_readme_is_that_of_the_ladder():
    record, leads = results.load("ladder"), []
    for arithmetic in ("float32", "tf32"):
        for width in (30, 512, 8192):
            best = {"rung": [], "peer": []}
            for c in record["contestants"]:
                time = results.milliseconds(record, c["name"], width, arithmetic)
                best[c["kind"]] += [time] if time and c["arithmetic"] == arithmetic else []
            leads.append(f"{min(best['peer']) / min(best['rung']):.1f}")
    text, (a, b, c, d, e, f) = " ".join(README.split()), leads
    assert f"is {a}, {b} and {c} times as fast as the fastest peer in float32" in text
    assert f"and {d}, {e} and {f} times in TF32" in text


def test_three_products_of_tf32_are_as_exact_as_cublas_in_float32():
    rows = results.load("errors")["rows"]
    for hidden in (30, 512, 8192):
        at = {"hidden": hidden, "arithmetic": "float32"}
        ours, cublas = (
            results.find(rows, network=name, **at)["errors"] for name in ("one-kernel", "captured")
        )
        assert ours[0] <= cublas[0]  # of the weights that tensor cores compute
        assert max(ours) <= max(cublas)
