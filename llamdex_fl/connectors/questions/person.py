"""How a question speaks of its subject: pronouns, verbs that agree, the noun now and then."""

import random
from dataclasses import dataclass

from llamdex_fl.connectors.questions.grammar import article
from llamdex_fl.connectors.questions.question import CLOSE
from llamdex_fl.connectors.questions.saying import other_numbers
from llamdex_fl.connectors.questions.wording import Subject

__all__ = ["Person", "spoken_intro"]

_SURNAMES = ("Okafor", "Lindqvist", "Moreau", "Hughes", "Petrov", "Tanaka", "Silva", "Novak", "Byrne", "Haddad")
_VERBS = {
    "he": {"has": "has", "is": "is", "was": "was", "does": "does"},
    "they": {"has": "have", "is": "are", "was": "were", "does": "do"},
    "I": {"has": "have", "is": "am", "was": "was", "does": "do"},
}
_PRONOUNS = {
    "he": ("he", "him", "his"),
    "she": ("she", "her", "her"),
    "they": ("they", "them", "their"),
    "it": ("it", "it", "its"),
    "I": ("I", "me", "my"),
}
_SPOUSES = {"he": "wife", "she": "husband"}


@dataclass(frozen=True, slots=True)
class Person:
    """How this question speaks of its subject."""

    subject: Subject
    pronoun: str
    definite: str
    mark: str

    def pronouns(self) -> tuple[str, ...]:
        """Subject, object and possessive pronoun; he and she say what the subject's noun says."""
        words = _PRONOUNS[self.pronoun]
        says = self.mark and self.pronoun in {"he", "she"}
        return tuple(f"{self.mark}{word}{CLOSE}" for word in words) if says else words

    def verbs(self) -> dict[str, str]:
        """The verbs that agree with the subject pronoun."""
        return _VERBS.get(self.pronoun, _VERBS["he"])

    def chat(self, text: str, rng: random.Random) -> str:
        """Resolve the slots of a text that has nothing to do with the record: the person's, numbers, a surname."""
        text = other_numbers(self.fill(text, rng), rng).replace("{name}", rng.choice(_SURNAMES))
        while "{n}" in text:
            text = text.replace("{n}", str(rng.choice([rng.randint(2, 99), rng.randint(100, 9999)])), 1)
        return text

    def fill(self, text: str, rng: random.Random) -> str:
        """Resolve the person slots of a phrase, verbs agreeing with what stands for the subject."""
        he, him, his = self.pronouns()
        spouse = _SPOUSES.get(self.pronoun, "spouse")
        if self.mark and self.pronoun in _SPOUSES:
            spouse = f"{self.mark}{spouse}{CLOSE}"
        verbs = self.verbs()
        if self.pronoun != "I" and "{he}" in text and rng.random() < 0.25:  # noqa: PLR2004 - the noun now and then
            he, verbs = self.definite, _VERBS["he"]
        for slot, word in {"he": he, "him": him, "his": his, "spouse": spouse, **verbs}.items():
            text = text.replace("{" + slot + "}", word)
        return text


def spoken_intro(noun: str, said: str, rng: random.Random, *, relation: bool) -> str:
    """A noun that brings the subject in, in prose, with the age where one is said."""
    one = f"my {noun}" if relation else rng.choice([f"{article(noun)} {noun}", f"this {noun}", f"the {noun}"])
    if not said:
        return one
    forms = [f"{one}, aged {said}", f"{one}, {said} years old", f"{one}, {said},", f"{one}, who is {said},"]
    if relation:
        forms += [f"{one} ({said})", f"my {said}-year-old {noun}"]
    else:
        lead = rng.choice(["a", "this", "the"])
        forms += [f"{lead} {said}-year-old {noun}", f"{lead} {said} year old {noun}", f"{one} of {said}"] * 2
    return rng.choice(forms)
