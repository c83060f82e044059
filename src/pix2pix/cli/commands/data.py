"""`pix2pix data`: check, preview, align, make or download pairs."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from pix2pix.cli.console import align as align_columns
from pix2pix.cli.console import print_path, say
from pix2pix.cli.flags import Json, given, with_flags
from pix2pix.config import Augment, Data, Make
from pix2pix.config.presets import choose_settings
from pix2pix.data.pairing.image_files import describe_ignored
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.progress import ProgressBar
from pix2pix.text import format_count, format_counts


@with_flags
def check(
    data: str | None = None,
    /,
    *,
    preview: Path | None = None,
    json_: Json = False,
    settings: Data | None = None,
) -> None:
    """Read every file and report what is there; exit code 1 if anything is wrong, or if `train` would refuse.

    Parameters
    ----------
    data
        Folder of pairs, or pairs.csv; or use --source DIR --target DIR.
    preview
        Also draw random usable pairs on a contact sheet, a .png file, as `pix2pix data preview` does.
    json_
        Print the report as JSON.
    """
    from pix2pix.data.checks.check import check as look
    from pix2pix.training.plan_text import preview_plan, try_plan

    chosen = choose_settings(data, None, None, {"data": given(settings)})
    if preview is not None:
        from pix2pix.data.checks.preview import preview as draw
        from pix2pix.data.checks.preview import refuse_output

        refuse_output(preview, chosen.data)
    with ProgressBar("checking") as bar:
        report = look(chosen.data, progress=bar.update)
    plan = try_plan(chosen, report)
    refusal = plan if isinstance(plan, str) else None
    if json_:
        print(json.dumps(report.to_json() | {"train_refuses": refusal}, indent=2))
    else:
        print("\n".join([report.to_text(), "", *preview_plan(plan, report)]))
    if preview is not None:
        say(f"preview      {draw(chosen, preview, found=report.without_bad().pairs).path}")
    elif not json_:
        say("`pix2pix data preview` draws some of the pairs on a sheet; so does --preview FILE.png here")
    if refusal or not report.ok:
        raise SystemExit(1)


@with_flags
def align(
    data: str | None = None,
    /,
    *,
    output: Path,
    size: str | None = None,
    fit: Literal["resize", "crop", "pad"] = "resize",
    background: str = "white",
    settings: Data | None = None,
) -> None:
    """Write pairs anew, with source and target of each pair at one size.

    Parameters
    ----------
    data
        Folder of pairs, or pairs.csv; or use --source DIR --target DIR.
    output
        New folder for the pairs: sources in A, targets in B.
    size
        Size of both images, N or HxW; by default that of the target.
    fit
        resize changes the shape of an image; crop and pad keep it, and cut at the centre or repeat the edges.
    background
        Colour behind transparent pixels, such as white or #20a040.
    """
    from pix2pix.data.preparation.align import align as carry_out

    chosen = choose_settings(data, None, None, {"data": given(settings)})
    wanted = None if size is None else _parse_size(size)
    with ProgressBar("aligning") as bar:
        done = carry_out(chosen.data, output, size=wanted, fit=fit, background=background, progress=bar.update)
    over = f", transparent pixels of {done.laid_over:,} were laid over {background}" if done.laid_over else ""
    say(f"{done.pairs:,} pairs; {done.changed:,} of their images had another size{over}")
    print_path(done.path)


def _parse_size(text: str) -> tuple[int, int]:
    from pydantic import TypeAdapter, ValidationError

    from pix2pix.config.fields import Size

    try:
        return TypeAdapter[tuple[int, int]](Size).validate_python(text)
    except ValidationError:
        raise ConfigError(f"--size {text}: expected N or HxW in pixels, such as 256 or 256x512") from None


def download(
    name: str | None = None,
    /,
    *,
    output: Path | None = None,
    url: str | None = None,
    sha256: str | None = None,
) -> None:
    """Download and unpack a published data set of pairs. Run it again to continue.

    Parameters
    ----------
    name
        facades, maps, cityscapes, edges2shoes, edges2handbags or night2day; with --url, any name.
    output
        Folder for the pairs; by default NAME.
    url
        Another archive, .tar.gz or .zip: an address, or a downloaded file.
    sha256
        SHA-256 that the archive must have.
    """
    from pix2pix.data.preparation.download import download as fetch

    with ProgressBar("downloading", in_bytes=True) as bar:
        done = fetch(name, output, url=url, digest=sha256, progress=bar.update)
    if not done.new:
        say(f"{done.path} exists already")
    facts = {name: format_counts(fact) if isinstance(fact, dict) else fact for name, fact in done.record.items()}
    for line in align_columns(facts):
        say(line)
    if done.note:
        say(f"note: no pairs were found in it: {done.note}")
    print_path(done.path)


@with_flags
def preview(
    data: str | None = None,
    /,
    *,
    output: Path,
    count: int = 8,
    split: str | None = None,
    seed: int = 0,
    augmented: Annotated[bool, Parameter(negative=())] = False,
    preset: str | None = None,
    config: Path | None = None,
    settings: Data | None = None,
    augment: Augment | None = None,
) -> None:
    """Draw random pairs on a contact sheet, source | target, and print their names.

    Parameters
    ----------
    data
        Folder of pairs, or pairs.csv; or use --source DIR --target DIR.
    output
        The contact sheet, a .png file.
    count
        Pairs on the sheet.
    split
        Take pairs from train, val or test only.
    seed
        Seed of the choice of pairs and of their augmentation.
    augmented
        Show two random augmentations beside each pair, as training would see them.
    preset
        Published recipe whose augmentation is shown; by default paper.
    config
        YAML file of the settings of a training.
    """
    from pix2pix.data.checks.preview import preview as draw

    chosen = choose_settings(data, preset, config, {"data": given(settings), "augment": given(augment)})
    choices: dict[str, Any] = {"count": count, "split": split, "seed": seed, "augmented": augmented}
    with ProgressBar("reading") as bar:
        drawn = draw(chosen, output, progress=bar.update, **choices)
    for name in drawn.names:
        say(name)
    print_path(drawn.path)


@with_flags
def make(
    photos: Path,
    /,
    *,
    output: Path,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    settings: Make,
) -> None:
    """Make pairs from photos: a derived source in A, the photo as target in B. Run it again to continue.

    Parameters
    ----------
    photos
        Folder of photos; its subfolders are searched too.
    output
        Folder for the pairs, ready for `pix2pix train`.
    overwrite
        Replace pairs that were made with other settings or from other photos.
    """
    from pix2pix.data.preparation.from_photos import make as carry_out

    with ProgressBar("making pairs") as bar:
        made = carry_out(photos, output, settings, overwrite=overwrite, progress=bar.update)
    for path, reason in made.failed:
        say(f"no pair: {path}: {reason}")
    for line in describe_ignored(made.ignored):
        say(f"ignored: {line}")
    say(f"{format_count(made.new, 'new pair')}, {sum(made.counts.values())} in all ({format_counts(made.counts)})")
    print_path(made.path)
    if made.failed:
        raise DataError(f"{len(made.failed)} of the photos could not be used; they are listed above")
