"""Keep libraries from reporting their use to their makers."""

import sys
from collections.abc import MutableMapping
from typing import Any


def refuse_telemetry(environment: MutableMapping[str, str], modules: MutableMapping[str, Any] = sys.modules) -> None:
    """Set what switches reports off, unless the user has set it; call it before these libraries are imported.

    onnxruntime asks for an address of Microsoft, huggingface_hub names what runs here, and an import of OpenVINO sends
    an event to Google Analytics, unless the package for it is missing: then OpenVINO uses a stub.
    """
    environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
    environment.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if "openvino" not in modules:
        modules.setdefault("openvino_telemetry", None)
