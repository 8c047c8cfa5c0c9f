"""From an expert's output to the LLM's input space."""

from llamdex_fl.connectors.injector.network import Injector, answer_words, injection_prompt
from llamdex_fl.connectors.injector.training import InjectorRecipe, train_injector

__all__ = ["Injector", "InjectorRecipe", "answer_words", "injection_prompt", "train_injector"]
