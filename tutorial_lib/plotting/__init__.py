"""The book's pictures. The only part of the package that imports matplotlib."""

from tutorial_lib.plotting.charts import (
    plot_bars,
    plot_curves,
    plot_histograms,
    plot_learning_curve,
    plot_logarithmic,
    plot_roofline,
    plot_timeline,
)
from tutorial_lib.plotting.grids import (
    plot_break_even,
    plot_confusion,
    plot_digits,
    plot_flattening,
    plot_mask,
    plot_memory_order,
    plot_mistakes,
    plot_predictions,
    plot_weights,
)
