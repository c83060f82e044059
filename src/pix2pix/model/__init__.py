"""A trained model, weights and configuration, in a folder or in a repository of the hub."""

from pix2pix.model.hub import locate
from pix2pix.model.model import FileType, Model, build_networks, choose_statistics, describe_model, load_model
from pix2pix.model.model_config import ModelConfig, make_model_config

__all__ = [
    "FileType",
    "Model",
    "ModelConfig",
    "build_networks",
    "choose_statistics",
    "describe_model",
    "load_model",
    "locate",
    "make_model_config",
]
