"""The documents tell the truth: packages, modules, links and commands that they name exist."""

import re
from pathlib import Path

import pytest

from tests.test_imports import RANK, package_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "pix2pix"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("benchmarks/*.md")]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
TABLE = [line for line in ARCHITECTURE.splitlines() if line.startswith("| `")]


def packages() -> set[str]:
    """Every package below `pix2pix`, as `data/io`."""
    return {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")} - {"."}


def test_architecture_names_every_package_and_nothing_else() -> None:
    named = {name.rstrip("/") for row in TABLE for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert {name for name in named if not name.endswith(".py")} == packages()
    for module in re.findall(r"`((?:\w+/)*\w+\.py)`", ARCHITECTURE):
        assert (PACKAGE / module).is_file() or (ROOT / module).is_file(), module


def test_architecture_lists_packages_in_the_order_of_imports() -> None:
    rows = [re.findall(r"`([\w/]+?)(?:/|\.py)`", line.split("|")[1]) for line in TABLE]
    ranks = [RANK[package_of(f"pix2pix.{name.replace('/', '.')}")] for row in rows for name in row]
    assert ranks == sorted(ranks)


def test_drawing_names_packages() -> None:
    drawing = ARCHITECTURE.split("```mermaid")[1].split("```")[0]
    named = set(re.findall(r'\["([a-z/]+)(?:<br>[^"]*)?"\]', drawing))
    assert named <= packages()
    assert {name for name in packages() if name.startswith("data/")} - named == {"data/preparation"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{page.name}: {link}"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
