"""From an expert's output to the LLM's input space."""

from llamdex_fl.connectors.injector.network import Injector
from llamdex_fl.connectors.injector.training import InjectorRecipe, train_injector

__all__ = ["Injector", "InjectorRecipe", "train_injector"]
