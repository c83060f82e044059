"""Parse the XML in the metadata of an image, which may come from anyone."""

from xml.etree import ElementTree

Element = ElementTree.Element


def parse(xml: str) -> Element:
    """Parse XML without entities of its own, which may be huge when they are replaced. Raises ValueError for others."""
    if "<!" in xml.replace("<!--", "").replace("<![CDATA[", ""):
        raise ValueError("metadata declare a document type or entities")
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"metadata are no XML: {error}") from None


def write(root: Element) -> str:
    """Write an element and what is in it as text."""
    return ElementTree.tostring(root, encoding="unicode")
