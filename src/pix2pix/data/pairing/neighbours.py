"""Recognise the folders of other tools, and pairs of plain words such as images and masks, by their names alone."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class _Tool:
    """How a tool names its folders; {} stands for the word of a split."""

    name: str
    source: str
    target: str
    splits: Mapping[str, str]
    beside: str
    """Names of what lies beside these folders and is not read, as a regular expression."""
    is_directed: bool = False
    """Whether the names say which side is the source."""


_OURS = {"train": "train", "val": "val", "test": "test"}
TOOLS = (
    _Tool("img2img-turbo", "{}_A", "{}_B", _OURS, r".*_prompts\.json|fixed_prompt_.*\.txt"),
    _Tool("pix2pixHD", "{}_label", "{}_img", _OURS, r".*_(inst|feat)"),
    _Tool(
        "ZeroCostDL4Mic", "{}_source", "{}_target", {"train": "Training", "val": "Validation", "test": "Test"},
        "quality control.*", is_directed=True,
    ),
    _Tool("nnU-Net", "images{}", "labels{}", {"train": "Tr", "val": "Val", "test": "Ts"}, r".*\.json"),
)  # fmt: skip

WORDS = (
    ("image", "mask"), ("image", "label"), ("image", "gt"), ("img", "mask"), ("img", "label"), ("img", "gt"),
    ("input", "target"), ("input", "output"), ("input", "gt"), ("input", "groundtruth"), ("src", "tgt"),
    ("low", "high"), ("low", "gt"), ("lq", "gt"), ("lr", "hr"), ("noisy", "clean"), ("blur", "sharp"),
)  # fmt: skip
"""Words for a source and its target, in lower case and the singular."""
DIRECTED = {"input", "target", "output", "src", "tgt"}
"""Words that say which side is the source."""
_CHANNEL = re.compile(r"(.+)_([0-9]{4})(\.[^.]+|\.nii\.gz)", re.DOTALL)
"""A file name of nnU-Net: case, channel, suffix."""


class NeighbourFolders(NamedTuple):
    """The folders of a tool: of the source and the target of each split, and what lies beside."""

    tool: str
    splits: dict[str, tuple[str, str]]
    alone: dict[str, str]
    """Folder of a split that lacks its other side -> the name of that."""
    beside: re.Pattern[str]
    is_directed: bool

    @property
    def names(self) -> set[str]:
        return {name for pair in self.splits.values() for name in pair} | set(self.alone)


def find_tools(folders: Collection[str]) -> list[NeighbourFolders]:
    """Return the tools whose folders of `train` are there, both of them; upper and lower case count as the same."""
    known = {name.casefold(): name for name in folders}
    found = []
    for tool in TOOLS:
        splits: dict[str, tuple[str, str]] = {}
        alone: dict[str, str] = {}
        for split, word in tool.splits.items():
            sides = [tool.source.format(word), tool.target.format(word)]
            there = [known[side.casefold()] for side in sides if side.casefold() in known]
            if len(there) == 2:
                splits[split] = (there[0], there[1])
            elif there:
                alone[there[0]] = next(side for side in sides if side.casefold() != there[0].casefold())
        if "train" in splits:
            beside = re.compile(tool.beside, re.IGNORECASE)
            found.append(NeighbourFolders(tool.name, splits, alone, beside, tool.is_directed))
    return found


def find_words(folders: Collection[str]) -> list[tuple[str, str]]:
    """Return the pairs of folders whose names are words for a source and its target, such as images and masks."""
    words: dict[str, list[str]] = {}
    for name in sorted(folders):
        words.setdefault(_word(name), []).append(name)
    return [(a, b) for source, target in WORDS for a in words.get(source, ()) for b in words.get(target, ())]


def is_directed(names: Collection[str]) -> bool:
    """Return whether these words say which side is the source."""
    return any(_word(name) in DIRECTED for name in names)


def is_neighbour_name(name: str) -> bool:
    """Return whether a folder of this name could be read as a side of pairs."""
    templates = (template.format(word) for tool in TOOLS for word in tool.splits.values()
                 for template in (tool.source, tool.target))  # fmt: skip
    return _word(name) in {word for pair in WORDS for word in pair} or name.casefold() in map(str.casefold, templates)


def find_channels(files: Collection[str]) -> list[str]:
    """Return the channels that file names end in, `0000`, `0001`, ..., as nnU-Net writes them; none if one does not."""
    matches = [_CHANNEL.fullmatch(name) for name in files]
    return [] if None in matches else sorted({match[2] for match in matches if match})


def _word(name: str) -> str:
    plain = re.sub(r"[^a-z]", "", name.lower())
    return plain[:-1] if plain.endswith("s") and len(plain) > 3 else plain
