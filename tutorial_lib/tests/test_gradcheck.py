"""Central differences by themselves; the networks' gradients are checked in test_networks."""

import numpy as np
import pytest

from tutorial_lib.backend import xp
from tutorial_lib.gradcheck import central_differences


def cubes(values, **options):
    """The slopes of the sum of the cubes of these values."""
    parameter = xp.asarray(values, dtype=xp.float64)
    return central_differences(
        lambda: (parameter**3).sum(), parameter, [(i,) for i in range(len(values))], **options
    )


def test_the_slope_of_a_cube_is_off_by_the_square_of_the_step():
    np.testing.assert_allclose(cubes([2.0, -3.0], step=0.5), [12.25, 27.25])
    np.testing.assert_allclose(cubes([2.0]), [12], rtol=1e-9)
    assert cubes([0.0])[0] == pytest.approx(1e-10, abs=1e-12)  # the default step, squared


@pytest.mark.parametrize("step", [0, -1e-5, np.nan, np.inf])
def test_a_step_that_is_none_is_refused(step):
    with pytest.raises(ValueError, match="positive and finite, got"):
        cubes([2.0], step=step)


@pytest.mark.parametrize("fails", [1, 2])
def test_a_loss_that_fails_leaves_the_parameter_as_it_was(fails):
    parameter, calls = xp.ones((2, 2)), []

    def loss():
        calls.append(1)
        if len(calls) == fails:
            raise RuntimeError("no loss")
        return 0.0

    with pytest.raises(RuntimeError, match="no loss"):
        central_differences(loss, parameter, [(0, 1)])
    assert (parameter == 1).all()
    assert len(calls) == fails
