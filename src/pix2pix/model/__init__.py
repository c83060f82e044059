"""A trained model: weights and configuration, as a folder or a hub repository."""

from pix2pix.model.model import (
    TYPES,
    Card,
    Factor,
    Model,
    build_networks,
    choose_statistics,
    describe_model,
    load_model,
    locate,
    make_card,
)

__all__ = [
    "TYPES",
    "Card",
    "Factor",
    "Model",
    "build_networks",
    "choose_statistics",
    "describe_model",
    "load_model",
    "locate",
    "make_card",
]
