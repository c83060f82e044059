"""Make this folder a package, since torch-fidelity installs another package named `tests`."""
