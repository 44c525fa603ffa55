"""The book's three colors: matmuls, elementwise steps, everything else."""

BLUE, ORANGE, GREY = "#2a6f97", "#d1662b", "#8a8f98"
