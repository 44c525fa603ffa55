"""The book's pictures. The only part of the package that imports matplotlib."""

# ruff: noqa: F401
from tutorial_lib.plotting.arrays import (
    plot_confusion,
    plot_digits,
    plot_flattening,
    plot_mask,
    plot_memory_order,
    plot_mistakes,
    plot_predictions,
    plot_weights,
)
from tutorial_lib.plotting.curves import (
    plot_bars,
    plot_curves,
    plot_histograms,
    plot_learning_curve,
    plot_logarithmic,
)
from tutorial_lib.plotting.records import (
    plot_break_even,
    plot_ladder,
    plot_launch_queue,
    plot_phases,
    plot_roofline,
)
