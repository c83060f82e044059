"""`pix2pix train`: train a model on pairs, in a run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pix2pix.cli.console import print_path
from pix2pix.cli.flags import given, with_flags
from pix2pix.config import Settings
from pix2pix.config.io import to_yaml
from pix2pix.config.presets import choose_settings


@with_flags
def train(
    data: str | None = None,
    /,
    *,
    run: Path | None = None,
    preset: str | None = None,
    config: Path | None = None,
    base_channels: int | None = None,
    overwrite: bool = False,
    print_config: bool = False,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> None:
    """Train a model on pairs. Run the same command again to resume.

    Parameters
    ----------
    data
        Folder of pairs, or pairs.csv; or use --source DIR --target DIR.
    run
        Folder of the run; by default runs/NAME, where NAME is that of the data.
    preset
        Recipe: slides (the lecture's), paper, junyanz or modern (sharper images in the same time); by default paper.
    config
        YAML file of settings. Flags override the file, the file overrides the preset.
    base_channels
        Channels of the first layer of both networks.
    overwrite
        Replace the run in this folder.
    print_config
        Print the settings as YAML and stop.
    dry_run
        Check the data, print the plan and stop.
    """

    def inherit(parent: str, name: str | None) -> Mapping[str, Any]:
        from pix2pix.training.parent import inherit_settings  # imports torch, which --print-config does not need

        return inherit_settings(run, overwrite, parent, name)

    chosen = choose_settings(data, preset, config, given(settings, base_channels), inherit)
    if print_config:
        print(to_yaml(chosen), end="")
        return
    from pix2pix.training.train import plan_only, train_with

    if dry_run:
        plan_only(chosen, run, overwrite=overwrite)
    else:
        done = train_with(chosen, run, overwrite=overwrite)
        if done.is_first:
            print_path(done.path)
