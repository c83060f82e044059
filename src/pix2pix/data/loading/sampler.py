"""Order of the examples of an epoch, in batches, from (seed, epoch); divided among the ranks of a training."""

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from pix2pix.data.loading.dataset import CROPPED_TOGETHER, Key


class EpochSampler(Sampler[list[Key]]):
    """Yield batches of (epoch, index): every example once per epoch, in an order that depends on (seed, epoch).

    Of several `crops` of each pair, those of CROPPED_TOGETHER pairs follow each other, shuffled: so each file is
    decoded once, and a batch shows crops of several.

    All ranks use the same order. Each global batch has ranks x batch_size pairs and is cut into consecutive parts, one
    for each rank. The last batch of an epoch may be smaller. Its parts differ by one pair at most, and a rank with an
    empty part yields nothing for it. Set `epoch`, and `start`, the first pair of a resumed epoch, before each pass.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        rank: int = 0,
        ranks: int = 1,
        crops: int = 1,
    ) -> None:
        self.count, self.seed, self.shuffle, self.crops = count, seed, shuffle, crops
        self.batch_size, self.rank, self.ranks = batch_size, rank, ranks
        self.epoch = 0
        self.start = 0

    @property
    def global_batch_size(self) -> int:
        """Pairs in a batch of all ranks together."""
        return self.batch_size * self.ranks

    @property
    def last_part_is_empty(self) -> bool:
        """Whether the last batch has no pair for this rank."""
        last = max(0, self.count - self.start) % self.global_batch_size
        part = rank_slice(last, self.rank, self.ranks)
        return last > 0 and part.start == part.stop

    def __len__(self) -> int:
        return math.ceil(max(0, self.count - self.start) / self.global_batch_size) - self.last_part_is_empty

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, order = self.epoch, self._order()
        for start in range(self.start, self.count, self.global_batch_size):
            batch = order[start : start + self.global_batch_size]
            if part := batch[rank_slice(len(batch), self.rank, self.ranks)]:
                yield [(epoch, index) for index in part]

    def _order(self) -> list[int]:
        if not self.shuffle:
            return list(range(self.count))
        # No pair has the index `count`, so these numbers differ from those of every augmentation.
        rng = np.random.default_rng([self.seed, self.epoch, self.count])
        pairs = self.count // self.crops
        order = rng.permutation(pairs)
        if self.crops > 1:
            groups = [order[start : start + CROPPED_TOGETHER] for start in range(0, pairs, CROPPED_TOGETHER)]
            every = pairs * np.arange(self.crops)[:, None]
            order = np.concatenate([rng.permutation((group + every).ravel()) for group in groups])
        return [int(index) for index in order]


def rank_slice(count: int, rank: int, ranks: int) -> slice:
    """Return the slice of `count` items for one rank; slices are consecutive and of equal length, give or take one."""
    return slice(count * rank // ranks, count * (rank + 1) // ranks)
