"""Central differences, with which chapter 3 checks its gradients."""

from collections.abc import Callable, Iterable

import numpy as np

from tutorial_lib.backend import Array


def central_differences(
    loss: Callable[[], float], parameter: Array, elements: Iterable[tuple], *, step: float = 1e-5
) -> np.ndarray:
    """``(loss(p + step) - loss(p - step)) / (2 step)`` for each listed element p of `parameter`.

    `loss` reads `parameter`, which is changed in place and put back. The error is of order step².
    Raises TypeError for a parameter that is not float64: rounding would drown the difference.
    """
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
