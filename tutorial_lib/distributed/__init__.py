"""Data-parallel training on torch.distributed: NCCL between GPUs, gloo between CPUs.

`torchrun --nproc-per-node 2 -m tutorial_lib.distributed` trains one network on several ranks. Each
holds all the weights and takes a slice of every batch; the gradients are summed over the ranks.
Chapter "Several GPUs".
"""
