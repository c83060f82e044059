"""A trained model, weights and configuration, in a folder, a repository of the hub or an exported file.

The names are imported when they are first used: an exported file is read without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pix2pix.model.hub import locate
    from pix2pix.model.model import Model, build_networks, choose_statistics, describe_model, load_model
    from pix2pix.model.model_config import ModelConfig, make_model_config

_MODULES = {
    "Model": "model",
    "ModelConfig": "model_config",
    "build_networks": "model",
    "choose_statistics": "model",
    "describe_model": "model",
    "load_model": "model",
    "locate": "hub",
    "make_model_config": "model_config",
}

__all__ = [
    "Model",
    "ModelConfig",
    "build_networks",
    "choose_statistics",
    "describe_model",
    "load_model",
    "locate",
    "make_model_config",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pix2pix.model' has no attribute {name!r}")
    return getattr(import_module(f"pix2pix.model.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
