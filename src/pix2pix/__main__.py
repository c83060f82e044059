"""`python -m pix2pix`."""

from pix2pix.cli import main

main()
