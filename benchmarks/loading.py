"""Rows of loading: pairs per second and core of this package's data set, cached and not, against PIL."""

from collections.abc import Iterator

import torch

from benchmarks.conditions import Conditions
from benchmarks.reference import ReferencePairs
from benchmarks.rows import Row
from benchmarks.timing import faster, interleaved
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.loading.dataset import PairDataset, make_dataset
from pix2pix.data.pairing.pairs import find_pairs

TARGETS = (20.0, 30.0)  # must reach, aim
READ = 16  # pairs in a repetition of whatever reads files


def loading_rows(conditions: Conditions) -> Iterator[Row]:
    """Time cached and uncached loading, with jitter and flips, on one thread; batches of one pair."""
    config = conditions.config()
    pairs = find_pairs(config.data).splits["train"][:READ]
    prepared = prepare_data(config.data, pairs)
    cached = make_dataset(pairs, prepared, config.data, config.augment, config.load_size)
    reading = PairDataset(pairs, prepared, augment=config.augment, load_size=config.load_size)
    usual = ReferencePairs([pair.source.path for pair in pairs], image_size=conditions.image_size)
    passes = 8  # over the cached pairs, for a repetition that is long enough

    def ours(dataset: PairDataset, epochs: int) -> None:
        for epoch in range(epochs):
            for index in range(len(pairs)):
                dataset.__getitems__([(epoch, index)])

    def reference() -> None:
        for index in range(len(usual)):
            left, right = usual[index]
            torch.stack([left]), torch.stack([right])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timings = interleaved(
            {
                "reference": reference,
                "uncached": lambda: ours(reading, 1),
                "cached": lambda: ours(cached, passes),
            },
            conditions.rounds(15),
        )
    finally:
        torch.set_num_threads(threads)

    for name, work, each, targets in (
        ("cached", "cached", passes, TARGETS),
        ("uncached", "read from JPEG", 1, None),
    ):
        ratio = faster(timings[name], timings["reference"])
        must, aim = conditions.targets(targets)
        yield Row(
            section="loading",
            work=f"loading, pairs/s/core, {work}",
            ours=f"{each * len(pairs) / timings[name].median:.0f}/s",
            reference=f"{len(pairs) / timings['reference'].median:.0f}/s",
            value=each * ratio.value,
            must=must,
            aim=aim,
            spread=(each * ratio.low, each * ratio.high),
            raw={"ours": timings[name].seconds, "reference": timings["reference"].seconds},
        )
