"""An epoch of each network, however planned and launched, is an epoch of the plain network."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutorial_lib import BATCH_SIZE, MnistNet, MnistNetNaive, backend, networks, xp
from tutorial_lib.backend import MatmulComputeType, to_numpy
from tutorial_lib.dataset import normalized
from tutorial_lib.functions import binary_cross_entropy, one_hot
from tutorial_lib.graphs import CaptureError
from tutorial_lib.networks import Graph, Loop, MnistNetHalf, MnistNetOneKernel, Plans, plans
from tutorial_lib.networks.half import half
from tutorial_lib.tests.test_networks import DENSE, VIEWS, by_name, every_network

STEPS = [MnistNet, networks.MnistNetInPlace]
PLANS = [Plans, networks.UncheckedPlans, networks.MeasuredPlans]
COMBINATIONS = [(MnistNetNaive, Plans, Loop), *itertools.product(STEPS, PLANS, [Loop, Graph])]
CAPTURED = ["captured"]


def data(count, num_inputs=784, seed=0):
    rng = np.random.default_rng(seed)
    images = xp.asarray(rng.standard_normal((count, num_inputs), np.float32) / 2)
    return images, xp.asarray(rng.integers(0, 10, count))


def plain_epoch(model, images, labels, learning_rate, batch_size):
    """The losses; an image without a label of 0 to 9 is left out, and its batch's loss is NaN."""
    losses = []
    for i in range(0, len(images) - batch_size + 1, batch_size):
        x, t = images[i : i + batch_size], labels[i : i + batch_size]
        known = (t >= 0) & (t < 10)
        predictions, targets = model.forward(x[known]), one_hot(t[known], 10)
        loss = float(binary_cross_entropy(predictions, targets))
        losses.append(loss if known.all() else np.nan)
        gradients = model.backward((predictions - targets) / batch_size)
        for parameter, gradient in zip(model.parameters, gradients):
            parameter -= learning_rate * gradient
    return losses


def assert_same_epoch(model, plain, images, labels, rate=0.1, n=BATCH_SIZE, atol=1e-5, rtol=2e-4):
    """One more epoch of both; returns the losses. Half precision may be further off."""
    if isinstance(model, MnistNetHalf):
        atol, rtol = 1000 * atol, 20 * rtol
    losses = to_numpy(model.epoch(images, labels, learning_rate=rate, batch_size=n)).copy()
    expected = plain_epoch(plain, images.copy(), labels.copy(), rate, n)
    np.testing.assert_allclose(losses, expected, rtol=rtol, atol=atol / 10)
    for ours, theirs in zip(model.parameters, plain.parameters):
        np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), atol=atol)
    return losses


def values(model):
    return [to_numpy(parameter).tolist() for parameter in model.parameters]


@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda c: "-".join(x.__name__ for x in c))
@settings(max_examples=6)
@given(
    hidden=st.integers(1, 70),
    num_inputs=st.sampled_from([3, 64, 65, 130]),
    n=st.integers(1, 40),
    count=st.integers(40, 130),
    rate=st.sampled_from([0.01, 0.1]),
)
def test_an_epoch_is_that_of_the_plain_network(choices, hidden, num_inputs, n, count, rate):
    step, planned, launch = choices
    plain, inputs = MnistNetNaive(num_inputs, hidden, 10), data(count, num_inputs)
    with step(num_inputs, hidden, 10, plans=planned, launch=launch) as model:
        for _ in range(2):  # the second time, captured ones replay
            assert_same_epoch(model, plain, *inputs, rate, n, atol=1e-4)


@pytest.mark.parametrize("hidden", [1, 32, 33, 129, 512, 513])
def test_an_epoch_in_one_kernel_is_that_of_the_plain_network(hidden):
    model, plain = MnistNetOneKernel(784, hidden, 10), MnistNetNaive(784, hidden, 10)
    assert_same_epoch(model, plain, *data(2 * BATCH_SIZE + 9), rate=0.05)


def test_one_kernel_computes_in_float32_or_tf32_only():
    with pytest.raises(ValueError, match="computes in float32 or TF32, not"):
        MnistNetOneKernel(784, 30, 10, compute_type=MatmulComputeType.COMPUTE_64F)


@pytest.mark.parametrize("launch", [Loop, Graph])
def test_the_fused_network_trains_in_float64(launch):
    images, labels = data(BATCH_SIZE)
    x, plain = images.astype(np.float64), MnistNetNaive(784, 5, 10).astype(np.float64)
    with MnistNet(784, 5, 10, launch=launch).astype(np.float64) as model:
        losses = assert_same_epoch(model, plain, x, labels, atol=1e-12, rtol=1e-12)
        assert losses.dtype == np.float64


@by_name("inplace", *CAPTURED, "half", "one-kernel")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernels_train_only_in_float32(network, dtype):
    images, labels = data(BATCH_SIZE)
    with network(784, 5, 10).astype(np.float64) as model:
        before = values(model)
        with pytest.raises(TypeError, match=r"float(32|16)"):
            model.epoch(images.astype(dtype), labels)
        assert values(model) == before


@every_network
@settings(max_examples=8)
@given(image_view=st.sampled_from(VIEWS), label_view=st.sampled_from(VIEWS))
def test_an_epoch_over_a_view_is_that_over_its_copy_or_refused(network, image_view, label_view):
    """What a kernel gets is a pointer."""
    images, labels = (view(x) for view, x in zip((image_view, label_view), data(BATCH_SIZE)))
    plain = MnistNetNaive(784, 4, 10)
    with network(784, 4, 10) as model:
        if isinstance(model.launch, Graph) and not {image_view, label_view} <= set(DENSE):
            wrong = "labels" if image_view in DENSE else "images"
            with pytest.raises(ValueError, match=f"reads the {wrong} where.*{wrong}.copy()"):
                model.epoch(images, labels)
            images, labels = images.copy(), labels.copy()
        for _ in range(2):
            assert_same_epoch(model, plain, images, labels)


@every_network
@pytest.mark.parametrize("label", [77, -1, 10, 2**32 + 3])
def test_a_wrong_label_written_later_is_refused_or_left_out_and_its_loss_nan(network, label):
    images, labels = data(3 * BATCH_SIZE)
    plain = MnistNetNaive(784, 8, 10)
    with network(784, 8, 10) as model:
        assert_same_epoch(model, plain, images, labels)
        labels[BATCH_SIZE + 5] = label
        if not isinstance(model.launch, Loop):  # left to the kernels, until another array comes
            losses = assert_same_epoch(model, plain, images, labels)
            assert np.isnan(losses).tolist() == [False, True, False]
        before = values(model)
        with pytest.raises(ValueError, match="labels must be 0 to 9, they go from"):
            model.epoch(images, labels.copy())
        assert values(model) == before


TYPE, VALUE, FINITE = TypeError, ValueError, "finite and above 0"
REFUSED = [
    (lambda net, x, t, g: net.forward(x[0]), VALUE, r"\(n, 784\)"),
    (lambda net, x, t, g: net.forward(x[:0]), VALUE, "n at least 1"),
    (lambda net, x, t, g: net.forward(x.astype(xp.float64)), TYPE, "images must be.*32.*float64"),
    (lambda net, x, t, g: net.backward(g), RuntimeError, "call forward first"),
    (lambda net, x, t, g: net.forward(x) is net.backward(g[:3]), VALUE, r"\(256, 10\).*\(3, 10\)"),
    (lambda net, x, t, g: net.backward(g.astype(xp.float64)), TYPE, "grad must be.*float32"),
    (lambda net, x, t, g: net.epoch(x.astype(xp.uint8), t), TYPE, "images must be.*uint8"),
    (lambda net, x, t, g: net.epoch(x[:, 1:], t), VALUE, r"shape \(n, 784\)"),
    (lambda net, x, t, g: net.epoch(to_numpy(x).tolist(), t), TYPE, "images must be.*list"),
    (lambda net, x, t, g: net.epoch(x, t.astype(xp.int32)), TYPE, "labels must be"),
    (lambda net, x, t, g: net.epoch(x, to_numpy(t).tolist()), TYPE, "labels must be"),
    (lambda net, x, t, g: net.epoch(x, t[1:]), VALUE, "labels must have shape"),
    (lambda net, x, t, g: net.epoch(x[:9], t[:9]), VALUE, "a batch of 256 cannot be had from 9"),
    (lambda net, x, t, g: net.epoch(x, t, batch_size=0), VALUE, "a batch of 0 cannot be had"),
    (lambda net, x, t, g: net.epoch(x, t, batch_size=64.0), VALUE, "a batch of 64.0 cannot be"),
    (lambda net, x, t, g: net.epoch(x, t, learning_rate=None), TYPE, "must be a number"),
    (lambda net, x, t, g: net.epoch(x, t, learning_rate=float("nan")), VALUE, FINITE),
    (lambda net, x, t, g: net.epoch(x, t, learning_rate=-1), VALUE, FINITE),
]


@every_network
def test_what_does_not_fit_is_refused_at_any_time_and_changes_nothing(network):
    images, labels = data(BATCH_SIZE)
    with network(784, 4, 10) as model:
        for _ in range(2):
            before = values(model)
            for call, error, message in REFUSED:
                with pytest.raises(error, match=message):
                    call(model, images, labels, images[:, :10])
            assert values(model) == before
            model.epoch(images, labels)
            model.saved = None
    if network is MnistNetOneKernel:
        with pytest.raises(ValueError, match="batches of 256, not 128"):
            model.epoch(images, labels, batch_size=128)


@every_network
def test_epochs_go_on_with_another_learning_rate_and_after_free_in_the_same_buffers(network):
    images, labels = data(BATCH_SIZE)
    plain, model = MnistNetNaive(784, 8, 10), network(784, 8, 10)
    buffers = model.parameters
    for rate in (0.1, 0.1, 0.02, 0.02, 0.5, 0.5):
        assert_same_epoch(model, plain, images, labels, rate)
        if rate == 0.02:
            model.free()
            assert not model.plans.planned
    model.free()
    assert all(ours is buffer for ours, buffer in zip(model.parameters, buffers))


@pytest.mark.parametrize("step", STEPS)
def test_a_graph_reads_the_memory_where_it_is_and_another_epoch_is_recorded_anew(step):
    images, labels = data(64)
    epochs = [(images, labels, 0.1, 16), (images[:], labels[:], 0.1, 16)]  # of the same memory
    epochs += [(images, labels, 0.2, 16), (images, labels, 0.2, 32)]
    epochs += [(images.copy(), labels, 0.2, 32), (images, labels.copy(), 0.2, 32)]
    plain, graphs = MnistNetNaive(784, 8, 10), []
    with step(784, 8, 10, launch=Graph) as model:
        for x, t, rate, n in [*epochs, (images[:40], labels[:40], 0.2, 32)]:
            x[...], t[...] = data(len(x), seed=len(graphs))
            assert_same_epoch(model, plain, x, t, rate, n)
            graphs.append(model.launch.graph)
        assert [x is y for x, y in itertools.pairwise(graphs)] == [True] + [False] * 5
        with pytest.raises(RuntimeError, match="call forward first"):  # its memory is the graph's
            model.backward(xp.ones((32, 10), xp.float32))


@by_name(*CAPTURED, "half", "own-epilog")
def test_a_capture_that_fails_changes_nothing(network):
    images, labels = data(BATCH_SIZE)
    plain = MnistNetNaive(784, 4, 10)
    with network(784, 4, 10) as model:
        assert_same_epoch(model, plain, images, labels)
        graph, step = model.launch.graph, model.step
        model.step = lambda x, t, loss, rate: [step(x, t, loss, rate), float(loss[0])]
        with pytest.raises(CaptureError, match="cannot be captured"):
            model.epoch(images, labels, learning_rate=0.5)
        del model.step
        assert_same_epoch(model, plain, images, labels)
        assert model.launch.graph is graph


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 3e-4), ("bfloat16", 1.5e-3)])
def test_half_precision_learns_as_float32_by_loop_and_by_graph_from_images_of_either_type(
    dtype, bound
):
    images, labels = (x[: 40 * 64] for x in normalized(True))
    expected = to_numpy(MnistNetNaive(784, 256, 10).epoch(images, labels, batch_size=64))
    runs = []
    for launch, kind in itertools.product((Loop, Graph), ("float32", half(dtype))):
        with MnistNetHalf(784, 256, 10, dtype=dtype, launch=launch) as model:
            runs.append(to_numpy(model.epoch(images.astype(kind), labels, batch_size=64)).copy())
    assert abs(runs[0][:10] - expected[:10]).max() > 5e-6
    assert abs(runs[0] - expected).max() < bound
    assert all(np.array_equal(run, runs[0]) for run in runs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_updates_too_small_for_half_precision_add_up(dtype):
    images, labels = data(160)
    plain, moved = MnistNetNaive(784, 8, 10), []
    with MnistNetHalf(784, 8, 10, dtype=dtype) as model:
        rounded = model.masters.astype(model.dtype)
        for net in (model, plain):
            before = values(net)
            net.epoch(images, labels, learning_rate=1e-5, batch_size=16)
            moved.append([np.array(x) - y for x, y in zip(values(net), before)])
        assert float((model.masters.astype(model.dtype) == rounded).mean()) > 0.8
    for ours, theirs in zip(*moved):
        assert abs(ours - theirs).max() < 0.02 * abs(theirs).max()


def test_what_float16_cannot_hold_makes_the_losses_nan():
    images, labels = data(BATCH_SIZE)
    with MnistNetHalf(784, 8, 10, dtype="float16") as model, np.errstate(all="ignore"):
        model.weights_hidden *= 3e6  # up to 107,000
        assert bool(np.isnan(to_numpy(model.epoch(images, labels))).any())


def test_measured_plans_run_the_fastest_algorithm_and_their_timing_trains_nothing(monkeypatch):
    timed, used = [], []

    class TwoWays(plans.Matmul):
        """Its algorithms are the seconds that they are said to take."""

        def plan(self, *, preferences, **arguments):
            super().plan(**arguments)
            return 2.0, 1.0

        def execute(self, *, algorithm):
            used.append(algorithm)
            return super().execute()

    def time(work):
        work()  # which an update in place changes the weights with
        timed.append(used.pop())
        return timed[-1]

    monkeypatch.setattr(plans, "Matmul", TwoWays)
    monkeypatch.setattr(plans, "captured_time", time)
    fast = {"plans": networks.MeasuredPlans, "launch": Loop}  # a graph puts the weights back
    with networks.MnistNetInPlace(130, 8, 10, **fast) as model:
        assert_same_epoch(model, MnistNetNaive(130, 8, 10), *data(64, 130), n=16)
    assert timed == [2.0, 1.0] * 5
    assert set(used) == {1.0}


@pytest.mark.gpu
@by_name(*CAPTURED, "half", "own-epilog")
def test_a_replay_is_right_under_load(network):
    """In a stream of the caller's, beside a second network, after 10,000 foreign allocations."""
    images, labels = data(1024)
    backend.synchronize()
    plain, foreign = {h: MnistNetNaive(784, h, 10) for h in (64, 40)}, []
    mine, other = (network(784, hidden, 10) for hidden in plain)
    with mine, other, xp.cuda.Stream(non_blocking=True):
        for model, hidden in ((mine, 64), (other, 40), (mine, 64)):
            assert_same_epoch(model, plain[hidden], images, labels)
        for i in range(10_000):
            foreign.append(xp.full(int(1 + i * 7919 % 300_000), xp.nan, xp.float32))
            if len(foreign) > 50:
                del foreign[:: 1 + i % 7]
        for model, hidden in ((other, 40), (mine, 64)):
            assert_same_epoch(model, plain[hidden], images, labels)
        assert all(bool(xp.isnan(array).all()) for array in foreign)


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [30, 128, 512, 8192])
def test_the_one_kernel_repeats_itself_to_the_last_bit(hidden):
    runs = set()
    for _ in range(3):
        model = MnistNetOneKernel(784, hidden, 10)
        losses = model.epoch(*normalized(True))
        runs.add(b"".join(to_numpy(x).tobytes() for x in (losses, *model.parameters)))
    assert len(runs) == 1


@pytest.mark.gpu
@by_name("unchecked", "inplace", *CAPTURED, "one-kernel")
def test_tf32_moves_the_losses_by_less_than_a_thousandth(network, full_mnist):
    runs = []
    for compute_type in (None, MatmulComputeType.COMPUTE_32F_FAST_TF32):
        with network(784, 30, 10, compute_type=compute_type) as model:
            runs.append(to_numpy(model.epoch(*normalized(True))).copy())
    np.testing.assert_allclose(*runs, atol=1e-3)
