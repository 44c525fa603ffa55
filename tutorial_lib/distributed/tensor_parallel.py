"""The hidden layer cut over the ranks: each has some of its units, and only logits travel."""

from functools import partial
from typing import Any

import numpy as np

from tutorial_lib.backend import Array, to_numpy, xp
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.networks.base import PARAMETERS, MnistNetBase
from tutorial_lib.networks.plans import UncheckedPlans


class SummedPlans(UncheckedPlans):
    """The output layer's matmul is summed over the ranks, as if an epilog did it."""

    def __init__(self, ranks: Ranks, compute_type: int | None = None) -> None:
        self.ranks, self.no_bias = ranks, xp.zeros(10, dtype=xp.float32)
        super().__init__(compute_type)

    def run(self, name: str, a: Array, b: Array, c: Array | None = None, **plan: Any) -> Any:
        """As `Plans.run`; "output" gives each rank the logits of all units, the bias added once."""
        if name == "output" and self.ranks.rank:
            plan["inputs"] = {"bias": self.no_bias}
        result = super().run(name, a, b, c, **plan)
        if name == "output":
            self.ranks.sum(result.T)  # (n, 10), row-major
        return result


class TensorParallel(MnistNetBase):
    """Of the hidden units the rank's share, for all images of a batch. Comes before the class of a
    network with fused matmuls: ``class Net(TensorParallel, MnistNet): ...``."""

    def __init__(self, ranks: Ranks, *sizes: int, **options: Any) -> None:
        self.ranks, self.units = ranks, sizes[1]
        super().__init__(*sizes, **options, plans=partial(SummedPlans, ranks))

    def draw_parameters(self, seed: int) -> None:
        """Those of the whole network, of which the rank keeps its units."""
        super().draw_parameters(seed)
        self.num_hidden = len(range(self.units)[self.mine])
        self.check_sizes()
        whole = {name: getattr(self, name) for name in PARAMETERS}
        vars(self).update({name: self.cut(name, x).copy() for name, x in whole.items()})

    @property
    def mine(self) -> slice:
        """Which units are this rank's."""
        rank, size = self.ranks.rank, self.ranks.size
        return slice(self.units * rank // size, self.units * (rank + 1) // size)

    def cut(self, name: str, whole: Array) -> Array:
        """This rank's part of a parameter."""
        if name == "bias_output":
            return whole
        return whole[:, self.mine] if name == "weights_output" else whole[self.mine]

    def share(self, images: Array, labels: Array, batch: int) -> tuple[Array, Array, int]:
        """All of them: each rank takes the whole batch."""
        return images, labels, batch

    def gather(self) -> dict[str, np.ndarray]:
        """The parameters of the whole network, by name; all ranks have to ask at once."""
        parts = self.ranks.gather({name: to_numpy(getattr(self, name)) for name in PARAMETERS})
        axes = {"weights_hidden": 0, "bias_hidden": 0, "weights_output": 1}
        whole = {n: np.concatenate([part[n] for part in parts], axis) for n, axis in axes.items()}
        return whole | {"bias_output": parts[0]["bias_output"]}

    def scatter(self, whole: dict[str, Any]) -> None:
        """Take over this rank's part of the parameters of a whole network."""
        for name in PARAMETERS:
            getattr(self, name)[...] = xp.asarray(self.cut(name, whole[name]))

    @property
    def replicated(self) -> tuple[Array, ...]:
        """The parameter that every rank has."""
        return (self.bias_output,)
