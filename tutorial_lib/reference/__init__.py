"""What the GPU libraries compute, without a GPU: nvmath's Matmul with every epilog, and CuPy's
random stream."""
