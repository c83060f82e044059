"""The machine and its files: atomic writes, locks, hashes; device, precision, cores, memory; signals; progress."""
