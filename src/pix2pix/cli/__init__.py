"""The command line: parsing, messages and exit codes only."""

from pix2pix.cli.main import main

__all__ = ["main"]
