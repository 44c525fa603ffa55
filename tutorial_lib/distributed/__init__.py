"""Data-parallel training on torch.distributed: NCCL between GPUs, gloo between CPUs. Chapter 12."""
