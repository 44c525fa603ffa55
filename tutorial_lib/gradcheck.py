"""Central differences: a gradient found by trying, to check one found by thinking.

Chapter "Gradients".
"""

from collections.abc import Callable, Iterable

import numpy as np

from tutorial_lib.backend import Array


def central_differences(
    loss: Callable[[], float],
    parameter: Array,
    elements: Iterable[tuple[int, ...]],
    *,
    step: float = 1e-5,
) -> np.ndarray:
    """``(loss(p + step) - loss(p - step)) / (2 step)`` for each listed element p of `parameter`.

    `loss` reads `parameter`, which is changed in place and put back. The error is of order step².
    Raises TypeError for a parameter that is not float64, in which rounding would drown the
    difference, and ValueError for a step that is not positive and finite.
    """
    if not 0 < step < np.inf:
        raise ValueError(f"the step must be positive and finite, got {step}")
    if parameter.dtype != np.float64:
        raise TypeError(f"central differences need float64, the parameter is {parameter.dtype}")
    slopes = []
    for element in elements:
        kept = float(parameter[element])
        try:
            parameter[element] = kept + step
            above = float(loss())
            parameter[element] = kept - step
            slopes.append((above - float(loss())) / (2 * step))
        finally:
            parameter[element] = kept
    return np.array(slopes)
