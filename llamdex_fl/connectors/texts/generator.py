"""Asks about a text in a wording, in many shapes, and knows where the text stands in the question."""

import random
from collections.abc import Callable, Sequence

from llamdex_fl.connectors.questions import Question
from llamdex_fl.connectors.texts.wording import SLOT, TextRegister, TextWording
from llamdex_fl.schema import MOST_TEXT_CHARACTERS

__all__ = ["TextQuestionGenerator"]

#: Where the text will stand; it is put in last, so that what is done to the question leaves the text as it is.
_HERE = "\ue000"
_QUOTES = (
    ('"', '"'),
    ('"', '"'),
    ("\u201c", "\u201d"),
    ("'", "'"),
    ("\u2018", "\u2019"),
    ("\u00ab", "\u00bb"),
    ("``", "''"),
)
_FENCES = (
    ("```\n", "\n```"),
    ("---\n", "\n---"),
    ("===\n", "\n==="),
    ("> ", ""),
    ("<text>", "</text>"),
    ("<<", ">>"),
    ("[", "]"),
    ("(", ")"),
    ("*", "*"),
)
_BARE, _ASK_FIRST, _LEAD, _AROUND, _TEXT_FIRST, _PAIRS = "bare", "ask first", "lead", "around", "text first", "pairs"
_SHAPES = (_BARE, *[_ASK_FIRST] * 4, *[_LEAD] * 5, *[_AROUND] * 3, *[_TEXT_FIRST] * 3, *[_PAIRS] * 2)
#: Shapes in which the question is no part of the text's own line of words, so that any request can be made of it.
_OTHER_SHAPES = tuple(shape for shape in _SHAPES if shape not in {_BARE, _PAIRS})
#: Says one of several texts, its slots filled.
_Said = Callable[[Sequence[str]], str]
_ENDS = (".", ".", ".", "!", "...", "", "", "?!", " .")


class TextQuestionGenerator:
    """Makes questions about texts of one schema in one wording."""

    def __init__(self, wording: TextWording, *, noise: float = 0.25) -> None:
        """Keep the wording; ``noise`` is the chance of typing errors, lost capitals and the like."""
        self._wording = wording
        self._noise = noise
        self._name = wording.schema.features[0].name

    def sample(self, rng: random.Random) -> Question:
        """A question about a made-up text."""
        register = rng.choice(self._wording.registers)
        return self._asked(self._text(register, None, rng), register, rng)

    def ask(self, text: str, rng: random.Random) -> Question:
        """A question about this text."""
        return self._asked(text, rng.choice(self._wording.registers), rng)

    def text(self, rng: random.Random, *, label: str | None = None) -> str:
        """A made-up text; with the sentences of one label only, if it is named."""
        return self._text(rng.choice(self._wording.registers), label, rng)

    def other(self, rng: random.Random) -> str:
        """A question that is near to those of the schema and asks something else; empty if the wording has none."""
        other, register = self._wording.other, rng.choice(self._wording.registers)
        forms = [form for form in ("bare", "sentence", "sentence", "around") if other[form]]
        if not forms:
            return ""
        form = rng.choice(forms)
        if form == "bare":
            return self._noisy(self._filled(rng.choice(other["bare"]), register, rng), rng)
        shape = _AROUND if form == "around" else rng.choice([s for s in _OTHER_SHAPES if s != _AROUND])
        frame = self._frame(shape, register, rng, sentences=other["sentence"], around=other["around"])
        return self._noisy(frame, rng).replace(_HERE, self._text(register, None, rng))

    def _asked(self, text: str, register: TextRegister, rng: random.Random) -> Question:
        shape = rng.choice(_SHAPES)
        frame = self._frame(
            shape, register, rng, sentences=self._wording.ask["sentence"], around=self._wording.ask["around"]
        )
        frame = self._noisy(frame, rng).strip()
        start = frame.index(_HERE)
        span = (start, start + len(text))
        return Question(frame.replace(_HERE, text), {self._name: text}, {self._name: [span]})

    # -- texts -------------------------------------------------------------------------------------------------

    def _text(self, register: TextRegister, label: str | None, rng: random.Random) -> str:
        own = register.sentences.get(label) if label is not None else None
        pools = [own] if own is not None else list(register.sentences.values())
        most = rng.choice([1, 1, 2, 2, 3, 4, 6]) if rng.random() < 0.97 else rng.randint(10, 30)  # noqa: PLR2004
        text = ""
        for _ in range(rng.randint(1, most)):
            sentence = self._slots_filled(rng.choice(rng.choice(pools)), register, rng)
            end = "" if sentence[-1:] in ".!?" else rng.choice(_ENDS)
            joint = rng.choice([" ", " ", " ", " ", "\n", "  ", " -- ", ", "]) if text else ""
            if len(text) + len(joint) + len(sentence) + len(end) > MOST_TEXT_CHARACTERS:
                break
            text += joint + sentence + end
        if rng.random() < self._noise:
            text = rng.choice([str.lower, str.lower, str.upper, _tokenised, _fragment, _typo])(text)
        if label is None and rng.random() < self._noise / 5:
            # People also write what looks like nothing of the kind.
            words = text.split()
            text = " ".join(rng.sample(words, len(words)))
        return text.strip() or "ok"

    @staticmethod
    def _slots_filled(text: str, register: TextRegister, rng: random.Random) -> str:
        while SLOT.search(text):
            text = SLOT.sub(lambda match: rng.choice(register.slots[match.group(1)]), text)
        return " ".join(text.split(" ")).strip()

    # -- questions ---------------------------------------------------------------------------------------------

    def _frame(
        self,
        shape: str,
        register: TextRegister,
        rng: random.Random,
        *,
        sentences: Sequence[str],
        around: Sequence[str],
    ) -> str:
        """The question around the place of the text."""

        def said(texts: Sequence[str]) -> str:
            return self._filled(rng.choice(texts), register, rng)

        if shape == _BARE:
            return _quoted(rng) if rng.random() < 0.2 else _HERE  # noqa: PLR2004
        if shape == _AROUND:
            body = said(around).replace("{text}", _quoted(rng))
        elif shape == _PAIRS:
            body = self._pairs(said, rng)
        elif shape == _ASK_FIRST:
            body = _after_question(said(sentences), rng)
        elif shape == _TEXT_FIRST:
            body = _before_question(said(sentences), rng)
        else:
            body = self._led(said, sentences, rng)
        return self._chatted(body, said, rng)

    def _filled(self, text: str, register: TextRegister, rng: random.Random) -> str:
        they_sg = rng.choice(["he", "she"])
        they = rng.choice([they_sg, "they"])
        values = {
            "kind": rng.choice(register.kinds),
            "author": rng.choice(register.authors),
            "they": they,
            "them": {"he": "him", "she": "her"}.get(they, "them"),
            "they_sg": they_sg,
            "n": str(rng.randint(2, 90)),
        }
        filled = SLOT.sub(lambda match: values.get(match.group(1), match.group(0)), text)
        return filled[:1].upper() + filled[1:]

    def _pairs(self, said: _Said, rng: random.Random) -> str:
        """Two lines, a key before the text and perhaps one before the question."""
        key = said(self._wording.ask["key"])
        key = rng.choice([key, key.lower(), key.upper(), f"**{key}**"])
        line = key + rng.choice([": ", ": ", ":\n", " = ", " - ", " -> "]) + _placed(rng, plain=0.7)
        question = said(self._wording.ask[rng.choice(["short", "sentence"])])
        question = rng.choice(["", "Question: ", "Q: ", "task - ", "? "]) + question
        between = rng.choice(["\n", "\n", "\n\n", " | ", "; "])
        return between.join([line, question] if rng.random() < 0.6 else [question, line])  # noqa: PLR2004

    def _led(self, said: _Said, sentences: Sequence[str], rng: random.Random) -> str:
        """Words that bring the text in, the text, and the question before or after."""
        lead = said(self._wording.ask["lead"])
        glue = rng.choice([": ", ": ", ": ", ":\n", ":\n\n", ", ", " - ", ". ", "\n"])
        if rng.random() < 0.3:  # noqa: PLR2004
            return said(sentences) + rng.choice([" ", "\n"]) + lead + glue + _placed(rng, plain=0.5)
        if glue in {", ", ". ", " - "} or rng.random() < 0.5:  # noqa: PLR2004
            return lead + glue + _quoted(rng) + rng.choice([" ", ". ", "\n", "\n\n", " -- "]) + said(sentences)
        return lead + glue + _before_question(said(sentences), rng)

    def _chatted(self, body: str, said: _Said, rng: random.Random) -> str:
        chatter = self._wording.chatter
        # Words right before a text that nothing opens would be taken for its own, by a person too.
        plain = body.startswith(_HERE)
        if chatter["opener"] and rng.random() < 0.35:  # noqa: PLR2004
            body = said(chatter["opener"]) + ("\n\n" if plain else rng.choice([" ", " ", "\n"])) + body
        elif chatter["aside"] and not plain and rng.random() < 0.2:  # noqa: PLR2004
            body = said(chatter["aside"]) + rng.choice([" ", "\n"]) + body
        if chatter["closer"] and rng.random() < 0.2:  # noqa: PLR2004
            # Behind a text that nothing closes, only a line of its own is no part of it.
            body += ("\n" if body.endswith(_HERE) else rng.choice([" ", "\n"])) + said(chatter["closer"])
        return body

    def _noisy(self, frame: str, rng: random.Random) -> str:
        if rng.random() >= self._noise:
            return frame
        before, here, after = frame.partition(_HERE)
        change = rng.choice([str.lower, str.lower, _typo, _typo, _unmarked, str.upper])
        return change(before) + here + change(after)


def _quoted(rng: random.Random) -> str:
    left, right = rng.choice(_QUOTES)
    return f"{left}{_HERE}{right}"


def _placed(rng: random.Random, *, plain: float) -> str:
    """The text with nothing around it, in quotation marks, or set off in another way."""
    chance = rng.random()
    if chance < plain:
        return _HERE
    if chance < plain + (1.0 - plain) * 0.75:
        return _quoted(rng)
    left, right = rng.choice(_FENCES)
    return f"{left}{_HERE}{right}"


def _after_question(question: str, rng: random.Random) -> str:
    if rng.random() < 0.3:  # noqa: PLR2004
        question = question.rstrip("?.!") + rng.choice([":", ":", " -", "?:"])
    return question + rng.choice([" ", " ", "\n", "\n\n"]) + _placed(rng, plain=0.5)


def _before_question(question: str, rng: random.Random) -> str:
    placed = _placed(rng, plain=0.5)
    glue = rng.choice(["\n", "\n\n", "\n", " -- ", " | ", " // ", " "])
    if placed != _HERE:
        glue = rng.choice([" ", " ", ". ", " - ", "\n", glue])
    return placed + glue + question


def _tokenised(text: str) -> str:
    """As corpora write it: blanks before the marks."""
    for mark in ".,!?":
        text = text.replace(mark, f" {mark}")
    return text


def _fragment(text: str) -> str:
    """Without its first words and its end."""
    words = text.split(" ")
    return " ".join(words[len(words) // 3 :]).rstrip(".") if len(words) > 4 else text  # noqa: PLR2004


def _unmarked(text: str) -> str:
    return text.replace("?", "").replace(",", "")


def _typo(text: str) -> str:
    """Two letters swapped, always the same two of a text."""
    places = [place for place in range(len(text) - 1) if text[place].isalpha() and text[place + 1].isalpha()]
    if not places:
        return text
    place = places[len(text) * 7 % len(places)]
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
