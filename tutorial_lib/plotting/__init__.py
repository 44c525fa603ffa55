"""The book's pictures. The only part of the package that imports matplotlib."""

from tutorial_lib.plotting.curves import (
    plot_class_shares,
    plot_curves,
    plot_histograms,
    plot_learning_curve,
    plot_logarithmic,
    plot_times_by_width,
)
from tutorial_lib.plotting.digits import (
    plot_confusion,
    plot_digits,
    plot_flattening,
    plot_mistakes,
    plot_predictions,
    plot_weights,
)
from tutorial_lib.plotting.kernel import plot_banks, plot_cut, plot_phases
from tutorial_lib.plotting.launches import plot_capture, plot_launch_queue, plot_step_graph
from tutorial_lib.plotting.memory import plot_mask, plot_memory_order, plot_memory_traffic
from tutorial_lib.plotting.network import plot_architecture, plot_backward
from tutorial_lib.plotting.scaling import plot_all_reduce, plot_ring, plot_scaling
from tutorial_lib.plotting.speed import plot_break_even, plot_ladder, plot_roofline, plot_staircase

__all__ = [
    "plot_all_reduce",
    "plot_architecture",
    "plot_backward",
    "plot_banks",
    "plot_break_even",
    "plot_capture",
    "plot_class_shares",
    "plot_confusion",
    "plot_curves",
    "plot_cut",
    "plot_digits",
    "plot_flattening",
    "plot_histograms",
    "plot_ladder",
    "plot_launch_queue",
    "plot_learning_curve",
    "plot_logarithmic",
    "plot_mask",
    "plot_memory_order",
    "plot_memory_traffic",
    "plot_mistakes",
    "plot_phases",
    "plot_predictions",
    "plot_ring",
    "plot_roofline",
    "plot_scaling",
    "plot_staircase",
    "plot_step_graph",
    "plot_times_by_width",
    "plot_weights",
]
