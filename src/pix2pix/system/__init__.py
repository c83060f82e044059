"""The machine and its files: whole writes, locks, hashes; device, precision, cores, memory; signals."""
