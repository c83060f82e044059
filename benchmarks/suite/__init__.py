"""The benchmark: this machine's limits, how pix2pix is usually trained, and this package, measured side by side."""
