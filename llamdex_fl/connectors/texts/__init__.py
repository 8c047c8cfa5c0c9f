"""Reading for text experts: which words of a question are the text that somebody wrote.

A text expert takes the words themselves, so for a schema of texts the reader points at a span instead of parsing
values. ``wording.py`` has how people ask about a text, ``generator.py`` makes such questions up, ``network.py`` adds
the pointing to the reader's network, ``reader.py`` reads, ``training.py`` teaches. Where no schema of texts is served,
nothing of this is used, and the reader is trained, named and read exactly as without this package.
"""

from llamdex_fl.connectors.texts.generator import TextQuestionGenerator
from llamdex_fl.connectors.texts.reader import TextReader, load_reader, same_text
from llamdex_fl.connectors.texts.training import TextReaderRecipe, train_text_reader
from llamdex_fl.connectors.texts.wording import TextWording, load_text_wording, training_text_wording

__all__ = [
    "TextQuestionGenerator",
    "TextReader",
    "TextReaderRecipe",
    "TextWording",
    "load_reader",
    "load_text_wording",
    "same_text",
    "train_text_reader",
    "training_text_wording",
]
