"""Convolutions and Adam for CPUs, faster than torch's, behind one switch (`switch.py`)."""
