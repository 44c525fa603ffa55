"""Is the reference right? Every claim it makes about cuBLASLt and cuRAND, tried on a GPU."""
