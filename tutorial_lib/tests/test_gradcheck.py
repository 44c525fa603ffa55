"""Central differences by themselves; the networks' gradients are checked in test_networks."""

import numpy as np
import pytest

from tutorial_lib.backend import xp
from tutorial_lib.gradcheck import central_differences


def cubes(values, **options):
    """The slopes of the sum of the cubes of these values."""
    parameter = xp.asarray(values)
    elements = [(i,) for i in range(len(values))]
    return central_differences(lambda: (parameter**3).sum(), parameter, elements, **options)


def test_the_slope_of_a_cube_is_off_by_the_square_of_the_step_and_needs_float64():
    np.testing.assert_allclose(cubes([2.0, -3.0], step=0.5), [12.25, 27.25])
    np.testing.assert_allclose(cubes([2.0]), [12], rtol=1e-9)
    with pytest.raises(TypeError, match="need float64, the parameter is float32"):
        cubes(np.ones(2, np.float32))
    assert cubes([0.0])[0] == pytest.approx(1e-10, abs=1e-12)  # the default step, squared


@pytest.mark.parametrize("losses", [[], [0.0]])
def test_a_loss_that_fails_leaves_the_parameter_as_it_was(losses):
    parameter, rest = xp.ones((2, 2)), iter(losses)
    with pytest.raises(StopIteration):
        central_differences(lambda: next(rest), parameter, [(0, 1)])
    assert (parameter == 1).all()
