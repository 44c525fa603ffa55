"""The faster networks: an epoch of each is an epoch of the plain network, wherever it runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutorial_lib import BATCH_SIZE, MnistNet, MnistNetNaive, backend, results, test, xp
from tutorial_lib.backend import MatmulComputeType, to_numpy
from tutorial_lib.capture import CaptureError
from tutorial_lib.dataset import normalized
from tutorial_lib.functions import binary_cross_entropy, one_hot
from tutorial_lib.networks import NETWORKS, tuned, unchecked
from tutorial_lib.networks.captured import MnistNetCaptured
from tutorial_lib.networks.inplace import MnistNetInPlace
from tutorial_lib.networks.merged import MAX_HIDDEN as MERGED_WIDEST
from tutorial_lib.networks.merged import MnistNetMerged
from tutorial_lib.networks.one_kernel import MAX_HIDDEN, MnistNetOneKernel
from tutorial_lib.networks.tuned import MnistNetTuned
from tutorial_lib.networks.unchecked import MnistNetUnchecked

STEPWISE = [MnistNetUnchecked, MnistNetInPlace, MnistNetCaptured, MnistNetTuned, MnistNetMerged]
CAPTURED = [MnistNetCaptured, MnistNetTuned, MnistNetMerged]
FAST = [*STEPWISE, MnistNetOneKernel]
ALL = list(NETWORKS.values())
PLACED = [*CAPTURED, MnistNetOneKernel]  # whose kernels read labels that nobody looked at


def data(count, num_inputs=784, num_outputs=10, seed=0):
    rng = np.random.default_rng(seed)
    images = xp.asarray(rng.standard_normal((count, num_inputs), np.float32) / 2)
    return images, xp.asarray(rng.integers(0, num_outputs, count))


def plain_epoch(model, images, labels, learning_rate, batch_size):
    losses = []
    for i in range(0, len(images) - batch_size + 1, batch_size):
        x, targets = images[i : i + batch_size], one_hot(labels[i : i + batch_size], 10)
        predictions = model.forward(x)
        losses.append(float(binary_cross_entropy(predictions, targets)))
        gradients = model.backward((predictions - targets) / batch_size)
        for parameter, gradient in zip(model.parameters, gradients):
            parameter -= learning_rate * gradient
    return losses


def assert_same(model, plain, atol=2e-6):
    for ours, theirs in zip(model.parameters, plain.parameters):
        np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), atol=atol)


@pytest.mark.parametrize("network", FAST)
def test_the_published_run(network, full_mnist):
    published = results.load("published_h200")
    with network(784, 30, 10) as model:
        losses = to_numpy(model.epoch(*normalized(True)))
        assert losses.shape == (234,)
        for batch, loss in published["losses"].items():
            assert losses[int(batch)] == pytest.approx(loss, abs=1e-5)
        assert abs(round(test(model) * published["tested"]) - published["correct"]) <= 2


@pytest.mark.parametrize("network", STEPWISE)
@settings(max_examples=8)
@given(
    hidden=st.integers(1, 70),
    num_inputs=st.sampled_from([3, 64, 65, 130]),
    batch_size=st.integers(4, 40),
    count=st.integers(40, 130),
    rate=st.sampled_from([0.01, 0.1]),
)
def test_an_epoch_is_that_of_the_plain_network(
    network, hidden, num_inputs, batch_size, count, rate
):
    images, labels = data(count, num_inputs)
    plain = MnistNetNaive(num_inputs, hidden, 10)
    with network(num_inputs, hidden, 10) as model:
        for _ in range(2):  # the second time, captured ones replay
            losses = model.epoch(images, labels, learning_rate=rate, batch_size=batch_size)
            expected = plain_epoch(plain, images, labels, rate, batch_size)
            np.testing.assert_allclose(to_numpy(losses), expected, rtol=2e-4, atol=1e-6)
        assert_same(model, plain, atol=1e-4)


@pytest.mark.parametrize("hidden", [1, 32, 33, 129, 512])
def test_an_epoch_in_one_kernel_is_that_of_the_plain_network(hidden):
    images, labels = data(2 * BATCH_SIZE + 9)
    plain, model = MnistNetNaive(784, hidden, 10), MnistNetOneKernel(784, hidden, 10)
    losses = model.epoch(images, labels, learning_rate=0.05)
    expected = plain_epoch(plain, images, labels, 0.05, BATCH_SIZE)
    np.testing.assert_allclose(to_numpy(losses), expected, rtol=1e-5)
    assert_same(model, plain)


@pytest.mark.parametrize("beyond", [0, 1])
def test_an_epoch_of_the_plain_network_is_its_steps(beyond):
    images, labels = data(2 * BATCH_SIZE + beyond)
    looped, plain = MnistNetNaive(784, 5, 10), MnistNetNaive(784, 5, 10)
    losses = looped.epoch(images, labels, learning_rate=0.2)
    assert to_numpy(losses).tolist() == plain_epoch(plain, images, labels, 0.2, BATCH_SIZE)


def test_the_plain_networks_train_in_float64():
    images, labels = data(64)
    for network in (MnistNetNaive, MnistNet, MnistNetUnchecked):
        with network(784, 5, 10).astype(np.float64) as model:
            losses = model.epoch(images.astype(np.float64), labels, batch_size=16)
            assert losses.dtype == np.float64
            plain = MnistNetNaive(784, 5, 10)
            np.testing.assert_allclose(
                to_numpy(losses), plain_epoch(plain, images, labels, 0.1, 16), rtol=1e-5
            )


# Arrays as they come: what a kernel gets is a pointer.


def strided(x):
    return xp.concatenate([x, x])[::2].copy().repeat(2, axis=0)[::2]


def reversed_(x):
    return x[::-1].copy()[::-1]


def column_major(x):
    return xp.asfortranarray(x) if x.ndim > 1 else strided(x)


def offset(x):
    """Dense, but not from a multiple of 16 bytes on."""
    memory = xp.zeros(x.size + 1, x.dtype)
    memory[1:] = x.ravel()
    return memory[1:].reshape(x.shape)


def broadcast(x):
    return xp.broadcast_to(x[:1], x.shape)


VIEWS = [strided, reversed_, column_major, offset, broadcast]


def later_part(x):
    """Dense and in place, as a slice of a larger array is."""
    return xp.concatenate([x[:48], x])[48:]


@pytest.mark.parametrize("network", ALL)
@settings(max_examples=8)
@given(
    image_view=st.sampled_from([None, later_part, *VIEWS]),
    label_view=st.sampled_from([None, later_part, *VIEWS]),
    repeats=st.integers(1, 2),
)
def test_an_epoch_over_a_view_is_that_over_its_copy_or_refused(
    network, image_view, label_view, repeats
):
    images, labels = data(BATCH_SIZE)
    images = images if image_view is None else image_view(images)
    labels = labels if label_view is None else label_view(labels)
    dense = [x in (None, later_part) for x in (image_view, label_view)]
    plain = MnistNetNaive(784, 4, 10)
    with network(784, 4, 10) as model:
        for _ in range(repeats):
            if network in CAPTURED and not all(dense):
                wrong = "labels" if dense[0] else "images"
                with pytest.raises(ValueError, match=f"reads the {wrong} where.*{wrong}.copy()"):
                    model.epoch(images, labels)
                images, labels, dense = images.copy(), labels.copy(), [True, True]
            losses = to_numpy(model.epoch(images, labels))
            expected = plain_epoch(plain, images.copy(), labels.copy(), 0.1, BATCH_SIZE)
            np.testing.assert_allclose(losses, expected, rtol=1e-4)
        assert_same(model, plain, atol=1e-5)


@pytest.mark.parametrize("network", [MnistNet, MnistNetUnchecked, MnistNetOneKernel])
@pytest.mark.parametrize("view", VIEWS)
def test_forward_and_backward_take_any_view(network, view):
    images, _ = data(24)
    grad = data(24, 10)[0]
    plain = MnistNetNaive(784, 4, 10)
    with network(784, 4, 10) as model:
        model.backward(model.forward(images))  # plans, for dense arrays
        for _ in range(2):
            probabilities = plain.forward(view(images).copy())
            np.testing.assert_allclose(
                to_numpy(model.forward(view(images))), to_numpy(probabilities), atol=1e-6
            )
            for ours, theirs in zip(model.backward(view(grad)), plain.backward(view(grad).copy())):
                np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), atol=1e-4)


@pytest.mark.parametrize("network", ALL)
def test_forward_and_backward_refuse_what_does_not_fit_at_any_time(network):
    images, grad = data(24)[0], data(24, 10)[0]
    with network(784, 4, 10) as model:
        with pytest.raises(RuntimeError, match="call forward first"):
            model.backward(grad)
        model.backward(model.forward(images))
        with pytest.raises(TypeError, match="images must be"):
            model.forward(images.astype(xp.float64))
        with pytest.raises(TypeError, match="grad must be"):
            model.backward(grad.astype(xp.float64))
        with pytest.raises(ValueError, match="shape of the last forward pass"):
            model.backward(grad[:, :9])


@pytest.mark.parametrize("network", CAPTURED)
def test_backward_after_a_captured_epoch_needs_a_forward_pass(network):
    """What the last step left lies in the graph's memory."""
    with network(784, 4, 10) as model:
        model.epoch(*data(BATCH_SIZE))
        with pytest.raises(RuntimeError, match="call forward first"):
            model.backward(data(BATCH_SIZE, 10)[0])


@pytest.mark.parametrize("network", CAPTURED)
def test_a_capture_that_fails_changes_nothing(network, monkeypatch):
    images, labels = data(3 * BATCH_SIZE)
    with network(784, 4, 10) as model:
        first = to_numpy(model.epoch(images, labels)).copy()
        before = [parameter.copy() for parameter in model.parameters]
        step = model.step

        def reading(x, labels, loss, learning_rate):
            step(x, labels, loss, learning_rate)
            float(loss[0])

        with monkeypatch.context() as patch:
            patch.setattr(model, "step", reading)
            with pytest.raises(CaptureError, match="cannot be captured"):
                model.epoch(images, labels, learning_rate=0.5)
        for parameter, value in zip(model.parameters, before):
            np.testing.assert_array_equal(to_numpy(parameter), to_numpy(value))
        again = to_numpy(model.epoch(images, labels))  # the graph that there was
        assert again.shape == first.shape
        assert (again < first).all()


# Labels.


@pytest.mark.parametrize("network", PLACED)
@pytest.mark.parametrize("label", [77, -1, 10, 2**32 + 3])
def test_a_wrong_label_written_later_is_left_out_and_makes_its_loss_nan(network, label):
    images, labels = data(3 * BATCH_SIZE)
    plain = MnistNetNaive(784, 8, 10)
    with network(784, 8, 10) as model:
        model.epoch(images, labels)
        plain_epoch(plain, images, labels, 0.1, BATCH_SIZE)
        wrong = BATCH_SIZE + 5
        labels[wrong] = label
        losses = to_numpy(model.epoch(images, labels)).copy()
        assert np.isnan(losses).tolist() == [False, True, False]
        expected = []
        for i in range(3):
            batch = slice(i * BATCH_SIZE, (i + 1) * BATCH_SIZE)
            known = xp.arange(BATCH_SIZE)[(labels[batch] < 10) & (labels[batch] >= 0)]
            x, t = images[batch][known], one_hot(labels[batch][known], 10)
            predictions = plain.forward(x)
            expected.append(float(binary_cross_entropy(predictions, t)))
            for p, g in zip(plain.parameters, plain.backward((predictions - t) / BATCH_SIZE)):
                p -= 0.1 * g
        np.testing.assert_allclose(losses[[0, 2]], [expected[0], expected[2]], rtol=1e-4)
        assert_same(model, plain)
        with pytest.raises(ValueError, match="labels must be 0 to 9"):
            model.epoch(images, labels.copy())  # another array is looked at


@pytest.mark.parametrize("network", [n for n in ALL if n not in PLACED])
def test_a_loop_looks_at_the_labels_of_each_epoch(network):
    images, labels = data(BATCH_SIZE)
    with network(784, 4, 10) as model:
        model.epoch(images, labels)
        labels[7] = 77
        before = [parameter.copy() for parameter in model.parameters]
        with pytest.raises(ValueError, match="go from 0 to 77"):
            model.epoch(images, labels)
        for parameter, value in zip(model.parameters, before):
            np.testing.assert_array_equal(to_numpy(parameter), to_numpy(value))


@pytest.mark.parametrize("network", CAPTURED)
def test_a_captured_epoch_reads_images_and_labels_where_they_are(network):
    images, labels = data(64)
    others, other_labels = data(64, seed=1)
    plain = MnistNetNaive(784, 8, 10)
    with network(784, 8, 10) as model:
        model.epoch(images, labels, batch_size=16)
        plain_epoch(plain, images, labels, 0.1, 16)
        graph = model._graph
        images[...], labels[...] = others, other_labels
        model.epoch(images, labels, batch_size=16)
        plain_epoch(plain, others, other_labels, 0.1, 16)
        assert model._graph is graph
        assert_same(model, plain)


@pytest.mark.parametrize("network", CAPTURED)
def test_another_epoch_is_captured_anew(network):
    images, labels = data(64)
    with network(784, 8, 10) as model:
        model.epoch(images, labels, batch_size=16)
        for change in ({"learning_rate": 0.2}, {"batch_size": 32}):
            graph = model._graph
            model.epoch(images, labels, **({"batch_size": 16} | change))
            assert model._graph is not graph
        graph = model._graph
        model.epoch(images.copy(), labels, batch_size=32)
        assert model._graph is not graph
        model.epoch(images[:], labels[:], batch_size=32)  # other views, and other memory again
        graph = model._graph
        model.epoch(images[:], labels[:], batch_size=32)
        assert model._graph is graph


@pytest.mark.parametrize("network", ALL)
def test_another_learning_rate_reaches_the_plans(network):
    images, labels = data(BATCH_SIZE)
    plain = MnistNetNaive(784, 8, 10)
    with network(784, 8, 10) as model:
        for rate in (0.1, 0.02, 0.5):
            model.epoch(images, labels, learning_rate=rate)
            plain_epoch(plain, images, labels, rate, BATCH_SIZE)
        assert_same(model, plain)


@pytest.mark.parametrize("network", ALL)
def test_an_epoch_after_free_goes_on(network):
    images, labels = data(BATCH_SIZE)
    plain = MnistNetNaive(784, 8, 10)
    model = network(784, 8, 10)
    for _ in range(2):
        model.epoch(images, labels)
        plain_epoch(plain, images, labels, 0.1, BATCH_SIZE)
        model.free()
    model.free()
    assert_same(model, plain)


@pytest.mark.parametrize("network", ALL)
def test_the_parameters_stay_the_live_buffers(network):
    with network(784, 8, 10) as model:
        before = model.parameters
        values = [to_numpy(parameter).copy() for parameter in before]
        model.epoch(*data(BATCH_SIZE))
        for parameter, same, value in zip(model.parameters, before, values):
            assert parameter is same
            assert not np.array_equal(to_numpy(parameter), value)


@pytest.mark.parametrize("network", ALL)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, t: (x.astype(xp.float64), t), TypeError, "images must be"),
        (lambda x, t: (x[:, 1:], t), ValueError, r"shape \(n, 784\)"),
        (lambda x, t: (x, t.astype(xp.int32)), TypeError, "labels must be"),
        (lambda x, t: (x, t[1:]), ValueError, r"labels must have shape"),
        (lambda x, t: (x, t + 5), ValueError, "labels must be 0 to 9, they go from"),
        (lambda x, t: (x, t - 1), ValueError, "labels must be 0 to 9, they go from -1"),
        (lambda x, t: (x[:100], t[:100]), ValueError, "a batch of 256 cannot be had from 100"),
    ],
    ids=["dtype", "width", "label dtype", "label count", "label range", "label below 0", "too few"],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(network, change, error, message):
    with network(784, 4, 10) as model:
        before = [parameter.copy() for parameter in model.parameters]
        with pytest.raises(error, match=message):
            model.epoch(*change(*data(BATCH_SIZE)))
        for parameter, value in zip(model.parameters, before):
            np.testing.assert_array_equal(to_numpy(parameter), to_numpy(value))


@pytest.mark.parametrize("network", ALL)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"learning_rate": float("nan")}, ValueError, "finite and above 0"),
        ({"learning_rate": float("inf")}, ValueError, "finite and above 0"),
        ({"learning_rate": 0}, ValueError, "finite and above 0"),
        ({"learning_rate": -1}, ValueError, "finite and above 0"),
        ({"learning_rate": None}, TypeError, "must be a number"),
        ({"batch_size": 0}, ValueError, "a batch of 0 cannot be had"),
        ({"batch_size": 64.0}, ValueError, "a batch of 64.0 cannot be had"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_and_change_nothing(network, options, error, message):
    images, labels = data(BATCH_SIZE)
    with network(784, 4, 10) as model:
        model.epoch(images, labels)
        before = [parameter.copy() for parameter in model.parameters]
        with pytest.raises(error, match=message):
            model.epoch(images, labels, **options)
        for parameter, value in zip(model.parameters, before):
            np.testing.assert_array_equal(to_numpy(parameter), to_numpy(value))


@pytest.mark.parametrize("network", [n for n in FAST if n is not MnistNetUnchecked])
def test_an_epoch_of_the_kernels_is_float32(network):
    with network(784, 4, 10).astype(np.float64) as model, pytest.raises(TypeError, match="float32"):
        model.epoch(*data(BATCH_SIZE))


@pytest.mark.parametrize("network", STEPWISE)
def test_astype_keeps_the_arithmetic(network):
    compute_type = MatmulComputeType.COMPUTE_32F_FAST_TF32
    model = network(784, 4, 10, compute_type=compute_type)
    assert model.astype(np.float32).compute_type == compute_type


@pytest.mark.parametrize("network", [MnistNetInPlace, MnistNetCaptured, MnistNetMerged])
def test_the_loss_kernel_is_written_for_ten_outputs(network):
    with pytest.raises(ValueError, match="10 outputs, not 9"):
        network(784, 4, 9)


def test_the_merged_kernel_says_how_wide_it_goes():
    assert MERGED_WIDEST == 17_152
    MnistNetMerged(1, MERGED_WIDEST, 10)
    with pytest.raises(ValueError, match=f"at most {MERGED_WIDEST:,} hidden units"):
        MnistNetMerged(1, MERGED_WIDEST + 1, 10)


def test_the_one_kernel_looks_again_at_arrays_that_it_had_to_copy():
    images, labels = data(BATCH_SIZE)
    for view in ((images, offset(labels)), (offset(images), labels)):
        with MnistNetOneKernel(784, 4, 10) as model:
            model.epoch(*view)
            view[1][3] = 77
            with pytest.raises(ValueError, match="go from 0 to 77"):
                model.epoch(*view)
            view[1][3] = 7


@pytest.mark.parametrize("network", ALL)
def test_lists_are_refused(network):
    images, labels = data(BATCH_SIZE)
    with network(784, 4, 10) as model:
        with pytest.raises(TypeError, match="images must be"):
            model.epoch(to_numpy(images).tolist(), labels)
        with pytest.raises(TypeError, match="labels must be"):
            model.epoch(images, to_numpy(labels).tolist())


@pytest.mark.parametrize("network", [n for n in ALL if n is not MnistNetOneKernel])
def test_a_batch_may_be_one_image(network):
    images, labels = data(3)
    plain = MnistNetNaive(784, 4, 10)
    with network(784, 4, 10) as model:
        losses = to_numpy(model.epoch(images, labels, batch_size=1))
    np.testing.assert_allclose(losses, plain_epoch(plain, images, labels, 0.1, 1), rtol=1e-4)


@pytest.mark.skipif(backend.name == "gpu", reason="cuBLASLt has algorithms of its own")
def test_the_tuned_network_runs_the_fastest_algorithm_and_its_timing_trains_nothing(monkeypatch):
    from tutorial_lib.reference.options import Algorithm

    used, timed, slow, fast = [], [], Algorithm(), Algorithm()

    class TwoWays(unchecked.Matmul):
        def plan(self, *, preferences, **arguments):
            assert preferences == {"limit": 32}
            super().plan(**arguments)
            self.algorithms = slow, fast
            return self.algorithms

        def execute(self, *, algorithm):
            used.append(algorithm)
            return super().execute(algorithm=algorithm)

    def time(work):
        work()  # which an update in place changes the weights with
        timed.append(used.pop())
        return 1.0 if timed[-1] is fast else 2.0

    monkeypatch.setattr(unchecked, "Matmul", TwoWays)
    monkeypatch.setattr(tuned, "captured_time", time)
    images, labels = data(64, 130)
    plain = MnistNetNaive(130, 8, 10)
    with MnistNetTuned(130, 8, 10) as model:
        model.epoch(images, labels, batch_size=16)
        assert_same_after(plain, model, images, labels)
    assert timed == [slow, fast] * 6  # update_hidden in two pieces
    assert set(used) == {fast}


def assert_same_after(plain, model, images, labels):
    plain_epoch(plain, images, labels, 0.1, 16)
    assert_same(model, plain)


def test_the_one_kernel_says_what_it_is_written_for():
    assert MAX_HIDDEN == 512
    for shape in ((784, MAX_HIDDEN + 1, 10), (783, 30, 10), (784, 30, 9)):
        with pytest.raises(ValueError, match="take MnistNetMerged"):
            MnistNetOneKernel(*shape)
    with pytest.raises(ValueError, match="batches of 256, not 128"):
        MnistNetOneKernel(784, 4, 10).epoch(*data(BATCH_SIZE), batch_size=128)


# What only a GPU can show.


@pytest.mark.gpu
@pytest.mark.parametrize("network", CAPTURED)
def test_a_replay_is_right_after_thousands_of_foreign_allocations(network):
    images, labels = data(1024)
    plain = MnistNetNaive(784, 64, 10)
    with network(784, 64, 10) as model:
        model.epoch(images, labels)
        plain_epoch(plain, images, labels, 0.1, BATCH_SIZE)
        foreign = []
        for i in range(5000):
            foreign.append(xp.full(int(1 + i * 7919 % 300_000), xp.nan, xp.float32))
            if len(foreign) > 50:
                del foreign[:: 1 + i % 7]
        losses = to_numpy(model.epoch(images, labels))
        expected = plain_epoch(plain, images, labels, 0.1, BATCH_SIZE)
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
        assert all(bool(xp.isnan(array).all()) for array in foreign)


@pytest.mark.gpu
def test_cupy_s_own_matmul_cannot_be_captured():
    x, stream = xp.ones((8, 8), xp.float32), xp.cuda.Stream(non_blocking=True)
    x @ x  # its library is set up
    with stream:
        stream.begin_capture()
        with pytest.raises(Exception, match="capture"):
            x @ x
        stream.end_capture()


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [30, 128, 512])
def test_the_one_kernel_repeats_itself_to_the_last_bit(hidden):
    images, labels = normalized(True)
    runs = []
    for _ in range(3):
        model = MnistNetOneKernel(784, hidden, 10)
        losses = model.epoch(images, labels)
        runs.append([to_numpy(x).tobytes() for x in (losses, *model.parameters)])
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.gpu
@pytest.mark.parametrize("network", STEPWISE)
def test_tf32_moves_the_losses_by_less_than_a_thousandth(network, full_mnist):
    published = results.load("published_h200")["losses"]
    compute_type = MatmulComputeType.COMPUTE_32F_FAST_TF32
    with network(784, 30, 10, compute_type=compute_type) as model:
        losses = to_numpy(model.epoch(*normalized(True)))
    for batch, loss in published.items():
        assert losses[int(batch)] == pytest.approx(loss, abs=1e-3)
