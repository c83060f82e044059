"""Calls that run code from files, or write where an archive says, stand nowhere in the source."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORBIDDEN = {
    "pickle": r"\b(c?[Pp]ickle|dill|cloudpickle|shelve)\b",
    "marshal": r"\bmarshal\b",
    "joblib": r"\bjoblib\b",
    "torch.load without weights_only": r"\btorch\.load\((?!.*weights_only=True)",
    "weights_only=False": r"weights_only\s*=\s*False",
    "numpy.load with pickles": r"\b(np|numpy)\.load\((?!.*allow_pickle=False)",
    "allow_pickle=True": r"allow_pickle\s*=\s*True",
    "extractall": r"\bextractall\b|\.extract\(|unpack_archive",
    "eval": r"(?<![\w.])eval\(",  # not the method of a network
    "exec": r"(?<![\w.])exec\(",
    "yaml.load": r"\byaml\.(load|load_all|full_load|unsafe_load)\(|UnsafeLoader|FullLoader|yaml\.Loader\b",
    "TorchScript": r"\btorch\.jit\.load\b",
    "torch.export.load": r"\btorch\.export\.load\b",
    "torch.hub.load": r"\btorch\.hub\.load\b",
    "trust_remote_code": r"trust_remote_code",
    "a shell": r"shell\s*=\s*True|\bos\.(system|popen)\(|\bgetoutput\(",
    "XML": r"\bxml\.(etree|dom|sax)\b|\blxml\b",
    "tempfile.mktemp": r"\bmktemp\(",
}
"""What -> how it would be written on one line."""
ALLOWED = {
    ("src/pix2pix/distributed/launcher.py", "pickle"): "files that its own processes write into a folder of its own",
    ("src/pix2pix/distributed/worker.py", "pickle"): "the same",
    (
        "src/pix2pix/model/torch_file.py",
        "pickle",
    ): "its unpickler finds no class or function but names of tensors and storages",
    ("src/pix2pix/data/io/metadata_xml.py", "XML"): "text with entities is refused first, and nothing is fetched",
}
"""File and pattern -> why it is safe there."""
WORDS = re.compile(r'#.*$|^\s*(""".*|[A-Z][^=()]*)$')  # comments, and lines of docstrings
SOURCE = sorted(path for folder in ("src", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))


def found(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each forbidden call; a call may go on over several lines."""
    lines = [WORDS.sub("", line) for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        whole = line
        for more in lines[number : number + 8]:
            if whole.count("(") <= whole.count(")"):
                break
            whole += " " + more.strip()
        yield from (
            (number, name) for name, pattern in FORBIDDEN.items() if re.search(pattern, line) and _in(name, whole)
        )


def _in(name: str, whole: str) -> bool:
    return re.search(FORBIDDEN[name], whole) is not None


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_runs_code_from_files(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    hits = list(found(path.read_text(encoding="utf-8")))
    assert [hit for hit in hits if (place, hit[1]) not in ALLOWED] == []


def test_what_is_allowed_is_there() -> None:
    for place, name in ALLOWED:
        assert name in {hit for _, hit in found((ROOT / place).read_text(encoding="utf-8"))}


PLANTED = {
    "import pickle": "pickle",
    "    data = pickle.loads(content)": "pickle",
    "import cPickle": "pickle",
    "joblib.load(path)": "joblib",
    "marshal.loads(content)": "marshal",
    "torch.load(path)": "torch.load without weights_only",
    "torch.load(\n    path,\n    map_location='cpu',\n)": "torch.load without weights_only",
    "torch.load(path, weights_only=False)": "weights_only=False",
    "np.load(path)": "numpy.load with pickles",
    "np.load(path, allow_pickle=True)": "allow_pickle=True",
    "tar.extractall(folder)": "extractall",
    "archive.extract(member, folder)": "extractall",
    "shutil.unpack_archive(path)": "extractall",
    "value = eval(text)": "eval",
    "exec(text)": "exec",
    "yaml.load(text, Loader=yaml.SafeLoader)": "yaml.load",
    "yaml.unsafe_load(text)": "yaml.load",
    "torch.jit.load(path)": "TorchScript",
    "torch.export.load(path)": "torch.export.load",
    "subprocess.run(command, shell=True)": "a shell",
    "os.system(command)": "a shell",
    "from xml.etree import ElementTree": "XML",
}


@pytest.mark.parametrize("line", PLANTED)
def test_a_planted_line_is_found(line: str) -> None:
    assert PLANTED[line] in {name for _, name in found(f"def load():\n    {line}\n")}


@pytest.mark.parametrize(
    "line",
    [
        "network.eval()",
        "generator.eval(), None",
        "evaluate(path)",
        "retrieval(path)",
        "torch.load(file, weights_only=True)",
        "torch.load(\n    file,\n    weights_only=True,\n)",
        "np.load(path, mmap_mode='r', allow_pickle=False)",
        "yaml.safe_load(text)",
        "extract(archive, folder)",
        "run(command)  # not os.system(command)",
        "import pickletools",
    ],
)
def test_safe_lines_are_not_found(line: str) -> None:
    assert list(found(line)) == []
