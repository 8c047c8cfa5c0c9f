"""From a question's text to the input of an expert."""

from llamdex_fl.connectors.reader.extension import Extension, ExtensionRecipe, exact_match, extend_reader
from llamdex_fl.connectors.reader.reader import MOST_TOKENS, Reader, Reading
from llamdex_fl.connectors.reader.training import ReaderRecipe, train_reader

__all__ = [
    "MOST_TOKENS",
    "Extension",
    "ExtensionRecipe",
    "Reader",
    "ReaderRecipe",
    "Reading",
    "exact_match",
    "extend_reader",
    "train_reader",
]
