"""A trained model: weights and configuration, as a folder or a hub repository."""

from pix2pix.model.model import (
    TYPES,
    Factor,
    Model,
    ModelConfig,
    build_networks,
    choose_statistics,
    describe_model,
    load_model,
    locate,
    make_model_config,
)

__all__ = [
    "TYPES",
    "Factor",
    "Model",
    "ModelConfig",
    "build_networks",
    "choose_statistics",
    "describe_model",
    "load_model",
    "locate",
    "make_model_config",
]
