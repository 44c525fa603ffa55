"""The same epoch outside the book's rungs: PyTorch three times over, and JAX.

Each does the work of the published step on resident, normalized images: 784-H-10, the published
loss of each batch with its 1e-8 inside the logarithms, ``(p - t) / n`` as the gradient of the
logits, plain gradient descent. What differs is how a framework gets that onto the device. A
framework is imported when its first contestant is built, never before.
"""

from tutorial_lib.benchmarks.contestant import Entry, entries

PEERS: list[Entry] = [
    *entries("PyTorch eager", "peer", f"{__name__}.torch_eager:TorchEager"),
    *entries("PyTorch, one CUDA graph", "peer", f"{__name__}.torch_graph:TorchGraph"),
    *entries("torch.compile, one CUDA graph", "peer", f"{__name__}.torch_graph:TorchCompiled"),
    *entries("JAX scan", "peer", f"{__name__}.jax_scan:JaxScan"),
    *entries("JAX scan, unrolled by 9", "peer", f"{__name__}.jax_scan:JaxScan", unroll=9),
]
