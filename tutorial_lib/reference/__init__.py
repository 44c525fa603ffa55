"""What the GPU libraries compute, without a GPU: every epilog, and CuPy's random stream."""
