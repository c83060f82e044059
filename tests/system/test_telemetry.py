"""No library that this package imports reports its use."""

import subprocess
import sys


def test_libraries_are_told_not_to_report() -> None:
    """In a fresh process, in which an import of OpenVINO would send an event; what a user has set stays."""
    code = (
        "import os, sys; os.environ.pop('HF_HUB_DISABLE_TELEMETRY', None); os.environ['ORT_DISABLE_TELEMETRY'] = '0'\n"
        "import pix2pix\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'; assert os.environ['HF_HUB_DISABLE_TELEMETRY'] == '1'\n"
        "try: import openvino_telemetry\n"
        "except ImportError: print('missing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "missing\n"
