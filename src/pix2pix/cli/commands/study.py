"""`pix2pix study`: repeat an experiment of the paper on any pairs."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pix2pix.cli.console import print_path
from pix2pix.cli.flags import Json, given, with_flags
from pix2pix.config import Settings
from pix2pix.system.progress import ProgressBar


@with_flags
def study(
    kind: str,
    data: str | None = None,
    /,
    *,
    run: Path = Path("runs/study"),
    seeds: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = [0],  # noqa: B006  # never changed
    processes: int = 1,
    split: str = "test",
    preset: str | None = None,
    config: Path | None = None,
    base_channels: int | None = None,
    segmenter: bool = True,
    palette: str | None = None,
    dry_run: bool = False,
    json_: Json = False,
    settings: Settings | None = None,
) -> None:
    """Repeat one of the paper's experiments: train its variants and compare them. Run it again to resume.

    Parameters
    ----------
    kind
        losses, generators or patches.
    data
        Folder of pairs, or pairs.csv; or use --source DIR --target DIR.
    run
        Folder of the study. Several studies may share it, and then share the trainings that they have in common.
    seeds
        Seeds; each variant is trained once with each.
    processes
        Number of trainings at the same time; with several, each uses one thread unless --threads says more.
    split
        Pairs to measure and show: train, val or test.
    preset
        Published recipe that all variants share; by default paper.
    config
        YAML file of settings that all variants share.
    base_channels
        Channels of the first layer of both networks.
    segmenter
        If the sources are label maps, measure how well labels can be read from the outputs, as in the paper.
    palette
        Colours of the label maps, as #0000ff,#ff5500,... or a file with one on each line; by default found in the maps.
    dry_run
        Print the plan with an estimate of its time, and stop.
    json_
        Print the table as JSON.
    """
    from pix2pix.study.estimate import describe_plan
    from pix2pix.study.page import format_table
    from pix2pix.study.study import plan_study
    from pix2pix.study.study import study as carry_out

    overrides = given(settings, base_channels)
    choices: dict[str, Any] = {"run": run, "seeds": seeds, "split": split, "preset": preset, "config": config}
    choices |= {"segmenter": segmenter, "palette": palette}
    if dry_run:
        for line in describe_plan(plan_study(kind, data, overrides, **choices), processes):
            print(line)
        return
    if processes > 1:
        with ProgressBar("studying") as bar:
            done = carry_out(kind, data, overrides, **choices, processes=processes, progress=bar.update)
    else:  # each training shows its own progress
        done = carry_out(kind, data, overrides, **choices, processes=processes)
    if json_:
        print(json.dumps(done.results, indent=2))
    else:
        print("\n".join(format_table(done.results)))
        print_path(done.page)
