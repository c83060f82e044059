"""The data sets published with pix2pix: name -> addresses, size, sides, direction, origin."""

import difflib
from typing import NamedTuple

from pix2pix.config.fields import Direction
from pix2pix.errors import ConfigError

# In the order in which they are tried. Each has all sets as NAME.tar.gz. No hashes are published, so https only.
HOSTS = (
    "https://efrosgans.eecs.berkeley.edu/pix2pix/datasets",
    "https://people.eecs.berkeley.edu/~tinghuiz/projects/pix2pix/datasets",
)


class PublishedSet(NamedTuple):
    """One set of side-by-side pairs."""

    size: int | None  # exact bytes of the archive, as the addresses state them; None where not verified
    rounded_size: str
    sides: str  # what lies left (A) and right (B)
    direction: Direction  # of the paper's experiment
    origin: str  # whose images they are, to cite and to ask for permission
    sha256: str | None = None  # of the archive; none is published


# fmt: off
CATALOG = {
    "facades": PublishedSet(30_168_306, "30 MB", "photo | labels", "BtoA",
        "CMP Facade Database, Tylecek and Sara, GCPR 2013; no licence is stated"),
    "maps": PublishedSet(250_242_400, "250 MB", "aerial | map", "AtoB",
        "images of Google Maps, under its terms; Isola et al., CVPR 2017"),
    "cityscapes": PublishedSet(103_441_232, "103 MB", "photo | labels", "BtoA",
        "Cityscapes, Cordts et al., CVPR 2016; non-commercial, see https://www.cityscapes-dataset.com/license"),
    "edges2shoes": PublishedSet(None, "2 GB", "edges | photo", "AtoB",
        "UT Zappos50K, Yu and Grauman, CVPR 2014; academic and non-commercial"),
    "edges2handbags": PublishedSet(None, "8 GB", "edges | photo", "AtoB",
        "Amazon product photos of iGAN, Zhu et al., ECCV 2016; no licence is stated"),
    "night2day": PublishedSet(None, "2 GB", "night | day", "BtoA",
        "Transient Attributes, Laffont et al., SIGGRAPH 2014; no licence is stated"),
}
# fmt: on


def find_set(name: str) -> PublishedSet:
    """Look up a set by its name. Raises ConfigError with a suggestion for an unknown one."""
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(CATALOG)}."
        raise ConfigError(f"there is no published set `{name}`; {hint} For another, give --url ADDRESS")
    return CATALOG[name]


def addresses_of(name: str) -> tuple[str, ...]:
    """Return the addresses of a published set's archive, in the order in which to try them."""
    return tuple(f"{host}/{name}.tar.gz" for host in HOSTS)
