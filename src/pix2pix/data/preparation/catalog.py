"""The published sets of the method: a name in; addresses, and what to know before training on it, out.

Sizes are what the addresses were seen to answer; a size or hash that nobody has verified is None, not a guess.
"""

import difflib
from typing import NamedTuple

from pix2pix.config.fields import Direction
from pix2pix.errors import ConfigError

HOSTS = (  # in the order in which they are tried; each has all sets as NAME.tar.gz
    "https://efrosgans.eecs.berkeley.edu/pix2pix/datasets",
    "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets",
    "https://people.eecs.berkeley.edu/~tinghuiz/projects/pix2pix/datasets",
)


class Published(NamedTuple):
    """One set of side-by-side pairs."""

    size: int | None  # bytes of the archive, exactly
    about: str  # the same for people
    pairs: str  # pairs to train on
    sides: str  # what lies left (A) and right (B)
    direction: Direction  # of the paper's experiment
    origin: str  # whose pictures they are: cite, and ask for what you may do with them
    sha256: str | None = None  # of the archive


# fmt: off
CATALOG = {
    #                            bytes        about     to train on     A | B               the paper's  origin
    "facades":        Published(30_168_306,  "30 MB",  "400",          "photo | labels",   "BtoA",
        "CMP Facade Database, Tylecek and Sara, GCPR 2013; no licence is stated"),
    "maps":           Published(250_242_400, "250 MB", "1,096",        "aerial | map",     "AtoB",
        "pictures of Google Maps, under its terms; Isola et al., CVPR 2017"),
    "cityscapes":     Published(103_441_232, "103 MB", "2,975",        "photo | labels",   "BtoA",
        "Cityscapes, Cordts et al., CVPR 2016; non-commercial, see https://www.cityscapes-dataset.com/license"),
    "edges2shoes":    Published(None,        "2 GB",   "about 50,000", "edges | photo",    "AtoB",
        "UT Zappos50K, Yu and Grauman, CVPR 2014; academic and non-commercial"),
    "edges2handbags": Published(None,        "8 GB",   "about 137,000", "edges | photo",   "AtoB",
        "Amazon product photos of iGAN, Zhu et al., ECCV 2016; no licence is stated"),
    "night2day":      Published(None,        "2 GB",   "about 17,800", "night | day",      "BtoA",
        "Transient Attributes, Laffont et al., SIGGRAPH 2014; no licence is stated"),
}
# fmt: on


def published(name: str) -> Published:
    """A name -> its set. Raises ConfigError with a suggestion for an unknown one."""
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(CATALOG)}."
        raise ConfigError(f"there is no published set `{name}`; {hint} For another, give --url ADDRESS")
    return CATALOG[name]


def addresses(name: str) -> tuple[str, ...]:
    """Where a published set is, in the order in which to try."""
    return tuple(f"{host}/{name}.tar.gz" for host in HOSTS)
