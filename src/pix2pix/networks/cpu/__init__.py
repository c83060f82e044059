"""Convolutions and Adam for CPUs, faster than torch's own, behind one switch (`switch.py`)."""
