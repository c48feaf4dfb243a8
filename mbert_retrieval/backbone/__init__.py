"""The ModernBERT network: packed throughout, loads and writes Hugging Face checkpoints."""

from .checkpoint import load_network, save_network
from .config import ModernBertConfig
from .heads import Classifier, MaskedLM
from .model import ModernBert, initialise

__all__ = [
    "Classifier",
    "MaskedLM",
    "ModernBert",
    "ModernBertConfig",
    "initialise",
    "load_network",
    "save_network",
]
