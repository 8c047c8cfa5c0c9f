"""From an expert's output to the LLM's input space."""

from llamdex_fl.connectors.injector.network import MIXTURES, Injector
from llamdex_fl.connectors.injector.placing import injected_tokens, injecting
from llamdex_fl.connectors.injector.prompt import Frame, Layers, Offers, joined, marked
from llamdex_fl.connectors.injector.sentences import CONFIDENCE_WORDS, confidence_level, worded_sentences
from llamdex_fl.connectors.injector.training import InjectorRecipe, train_injector

__all__ = [
    "CONFIDENCE_WORDS",
    "MIXTURES",
    "Frame",
    "Injector",
    "InjectorRecipe",
    "Layers",
    "Offers",
    "confidence_level",
    "injected_tokens",
    "injecting",
    "joined",
    "marked",
    "train_injector",
    "worded_sentences",
]
