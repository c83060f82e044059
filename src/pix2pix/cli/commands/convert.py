"""`pix2pix convert`: read and write the weights of pytorch-CycleGAN-and-pix2pix."""

from pathlib import Path
from typing import Literal

from pix2pix.cli.console import print_path, say
from pix2pix.config.fields import Direction


def convert(
    model: str,
    /,
    *,
    output: Path,
    discriminator: Path | None = None,
    key: str | None = None,
    image_size: str | None = None,
    direction: Direction = "AtoB",
    norm_statistics: Literal["image", "running"] = "image",
    dropout: bool = True,
    overwrite: bool = False,
) -> None:
    """Convert a file of pytorch-CycleGAN-and-pix2pix into a model folder, or a model into such a file.

    The architecture is found out of the tensors; what they do not tell is assumed, and said. Nothing in the file is
    executed.

    Parameters
    ----------
    model
        File such as latest_net_G.pth; or run folder, model folder or hub id, to write such a file.
    output
        Model folder; or the file to write, ending in .pth.
    discriminator
        File of the discriminator, such as latest_net_D.pth, to read or write too; `evaluate` needs it for its losses.
    key
        Name of the generator in a file that holds several networks. This and the next four are for reading a file.
    image_size
        Size to which images are resized, N or HxW; by default that of the U-Net, such as 256, or 256 for a ResNet.
    direction
        Which side of pairs is the source.
    norm_statistics
        What batch norm uses: image takes each image's own statistics, as test.py does; running those of the training,
        as test.py --eval.
    dropout
        Whether a U-Net was trained with dropout, which its tensors do not tell.
    overwrite
        Replace the model or the file in this place.
    """
    from pix2pix.export.convert import convert as carry_out
    from pix2pix.text import escape_unprintable

    done = carry_out(
        model,
        output=output,
        discriminator=discriminator,
        key=key,
        image_size=image_size,
        direction=direction,
        norm_statistics=norm_statistics,
        dropout=dropout,
        overwrite=overwrite,
    )
    for note in done.notes:
        say(escape_unprintable(note))
    print_path(done.path)
