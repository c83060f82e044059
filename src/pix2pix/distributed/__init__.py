"""Distributed training: the rank of a process, collectives, data parallel networks, and a launcher."""
