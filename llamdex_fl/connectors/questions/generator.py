"""Says a record in a wording, in many registers, and knows which words came to say which feature.

``question.py`` keeps account of the words, ``person.py`` speaks of the subject, ``records.py`` makes records up.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence

from llamdex_fl.connectors.questions.form_lines import FormStyle, blank_line, form_line, form_style
from llamdex_fl.connectors.questions.grammar import article, capital, counted, enumerated, joined, listing
from llamdex_fl.connectors.questions.person import Person, spoken_intro
from llamdex_fl.connectors.questions.question import CLOSE, OPEN, Question, legible, unmarked
from llamdex_fl.connectors.questions.records import sample_record
from llamdex_fl.connectors.questions.rows import row
from llamdex_fl.connectors.questions.saying import can_say, fits, months_of, other_numbers, say
from llamdex_fl.connectors.questions.slips import CORRECTED, corrected, slipped, written
from llamdex_fl.connectors.questions.typing_errors import typed
from llamdex_fl.connectors.questions.wording import Form, Phrase, Subject, Wording
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Feature, Value

__all__ = ["QuestionGenerator"]

_PROSE, _LETTER, _NOTES, _BULLETS, _PAIRS, _ROW = "prose", "letter", "notes", "bullets", "pairs", "row"
_JOINTS_TRIED = 100  # of hundreds, which take long to look at
_SLIPS = 0.01  # of the numbers
_TRIES = 20  # one in ten thousand fails the first
_REGISTERS = (_ROW, *[_PROSE] * 9, *[_LETTER] * 6, *[_NOTES] * 6, *[_BULLETS] * 3, *[_PAIRS] * 3)


class QuestionGenerator:
    """Makes questions about records of one schema in one wording."""

    def __init__(self, wording: Wording, *, noise: float = 0.25) -> None:
        """Keep the wording; ``noise`` is the chance of typing errors, lost capitals and the like."""
        self._wording = wording
        self._noise = noise
        self._order = {feature.name: index for index, feature in enumerate(wording.schema.features)}
        self._by_feature: dict[tuple[str, str], list[Phrase]] = {}
        self._joints: list[Phrase] = []
        self._stating: list[Phrase] = []
        for phrase in wording.phrases:
            covers = phrase.covers()
            if len(covers) + len(phrase.absent) > 1:
                self._joints.append(phrase)
                if phrase.states:
                    self._stating.append(phrase)
            elif covers:
                self._by_feature.setdefault((next(iter(covers)), phrase.form), []).append(phrase)
            else:
                self._by_feature.setdefault(("absent " + next(iter(phrase.absent)), phrase.form), []).append(phrase)

    def sample(self, rng: random.Random) -> Question:
        """A question about a made-up record."""
        record = sample_record(self._wording.schema, rng)
        if self._stating and rng.random() < 0.25:  # noqa: PLR2004 - what goes together is said together
            record.update(rng.choice(self._stating).states)
        return self.ask(record, rng)

    def ask(self, record: Mapping[str, Value], rng: random.Random) -> Question:
        """A question about this record.

        Raises:
            SchemaError: the wording's phrases run into each other whenever this record is said.
        """
        record = {name: float(v) if isinstance(v, int) else v for name, v in record.items()}
        for tried in range(_TRIES):
            if legible(question := self._composed(record, rng, rows=not tried), self._wording.schema):
                return question
        raise SchemaError(
            f"The wording of {self._wording.schema.name} cannot say a record so that its numbers can be read.",
            expected="phrases in which a number stands apart from other numbers",
            got="phrases whose number words run together",
            next_step="mend the wording; docs/wording.md describes the format",
        )

    def _composed(self, record: Mapping[str, Value], rng: random.Random, *, rows: bool) -> Question:
        register = rng.choice(_REGISTERS if rows else _REGISTERS[1:])
        plain = [s for s in self._wording.subjects if not s.states and not s.when and s.kind == "noun"]
        if register == _ROW and plain:
            return unmarked(self._row(record, rng.choice(plain), rng), list(self._order), record)
        person = self._person(record, rng, short=register in {_NOTES, _BULLETS, _PAIRS})
        remaining = {name for name, value in record.items() if value is not None}
        intro = self._intro(record, person, remaining, rng, register)
        if register in {_PROSE, _LETTER}:
            text = self._prose(record, person, remaining, intro, rng, letter=register == _LETTER)
        else:
            text = self._listed(record, person, remaining, intro, rng, register)
        return unmarked(typed(text, rng, noise=self._noise), list(self._order), record)

    # -- subject and introduction ------------------------------------------------------------------------------

    def _person(self, record: Mapping[str, Value], rng: random.Random, *, short: bool) -> Person:
        def fits(subject: Subject) -> bool:
            if any(record.get(name) != value for name, value in subject.states.items()):
                return False
            for name, (low, high) in subject.when.items():
                value = record.get(name)
                if not isinstance(value, float) or not low <= value <= high:
                    return False
            return True

        subjects = [subject for subject in self._wording.subjects if fits(subject)]
        kinds = ("noun", "noun", "short") if short else ("noun", "noun", "relation")
        kind = rng.choice(kinds)
        # A subject that says something is wanted more often than one that says nothing: equal chances for both.
        stating = rng.random() < 0.7  # noqa: PLR2004
        pool = [s for s in subjects if s.kind == kind and bool(s.states) == stating]
        pool = pool or [s for s in subjects if s.kind == kind] or [s for s in subjects if s.kind == "noun"] or subjects
        subject = rng.choice(pool)
        if subject.kind == "relation":
            definite = f"my {subject.text}"
        else:
            nouns = [s for s in subjects if s.kind == "noun" and s.states == subject.states] or [subject]
            definite = f"the {rng.choice(nouns).text}"
        pronoun = subject.pronoun
        if not subject.states and subject.kind == "noun" and pronoun == "they" and rng.random() < 0.35:  # noqa: PLR2004
            pronoun = "I"
        mark = self._marks(subject.states)
        if subject.states:
            definite = mark + definite + CLOSE * len(mark)
        said = [name for name in subject.states if name in {"sex", "gender"}] or list(subject.states)[:1]
        return Person(subject, pronoun, definite, self._marks(said))  # what he and she say

    def _intro(
        self, record: Mapping[str, Value], person: Person, remaining: set[str], rng: random.Random, register: str
    ) -> str:
        """Words that bring the subject in, the age with it where the schema has one; takes what it says off."""
        subject = person.subject
        age = record.get("age")
        remaining -= set(subject.states)
        feature = next((f for f in self._wording.schema.features if f.name == "age"), None)
        with_age = feature is not None and isinstance(age, float) and rng.random() < 0.7  # noqa: PLR2004
        said = self._number("age", age, rng) if with_age and isinstance(age, float) else ""
        if with_age:
            remaining.discard("age")
        if person.pronoun == "I":
            ways = [f"I am {said}", f"I'm {said}", f"I am {said} years old", f"{said} years old here"]
            return rng.choice(ways) if with_age else ""
        mark = self._marks(subject.states)
        noun = mark + subject.text + CLOSE * len(mark)
        relation = subject.kind == "relation"
        if with_age and feature is not None and _is_infant(feature, age) and rng.random() < 0.6:  # noqa: PLR2004
            return self._infant_intro(noun, _as_float(age), rng, relation=relation, prose=register in {_PROSE, _LETTER})
        if register in {_PROSE, _LETTER}:
            return spoken_intro(noun, said, rng, relation=relation)
        if not with_age:
            return noun
        if subject.kind == "short":
            glue = "" if len(subject.text) == 1 and said[-2:-1].isdigit() else " "  # 53M, but never "fifty-threeM"
            return rng.choice([f"{said}{glue}{noun}", f"{noun}, {said}", f"{noun} {said}", f"{said} y/o {noun}"])
        return rng.choice(
            [f"{noun}, {said}", f"{said} yo {noun}", f"{noun} of {said}", f"{noun} aged {said}", f"{noun}, {said} y"]
        )

    def _infant_intro(self, noun: str, age: float, rng: random.Random, *, relation: bool, prose: bool) -> str:
        """The subject with an age in months."""
        months = self._number("age", age, rng, form="months")
        old = chr(OPEN + self._order["age"]) + f"{months_of(age)}-month-old" + CLOSE
        one = f"my {noun}" if relation else f"{article(noun)} {noun}" if prose else noun
        lead = "my" if relation else rng.choice(["this", "the"])
        return rng.choice(
            [f"{one}, {months} old", f"{one} of {months}", f"{one}, aged {months}", f"{lead} {old} {noun}"]
        )

    def _row(self, record: Mapping[str, Value], subject: Subject, rng: random.Random) -> str:
        """A row as software gives it out, and the question."""
        person = Person(subject, subject.pronoun, f"the {subject.text}", "")
        ask = person.fill(rng.choice(self._wording.ask[rng.choice(["short", "sentence"])]), rng)
        body = row(self._wording, record, rng)
        return f"{body}{rng.choice([' ', chr(10)])}{ask}" if rng.random() < 0.5 else f"{ask}\n{body}"  # noqa: PLR2004

    # -- choosing phrases --------------------------------------------------------------------------------------

    def _cover(
        self, record: Mapping[str, Value], remaining: set[str], rng: random.Random, forms: tuple[Form, ...]
    ) -> list[Phrase]:
        """Phrases that say every remaining feature once, and some of the absent ones as absent."""
        absent = {name for name, value in record.items() if value is None}
        chosen: list[Phrase] = []
        for joint in rng.sample(self._joints, min(_JOINTS_TRIED, len(self._joints))) if rng.random() < 0.6 else []:  # noqa: PLR2004
            covers = joint.covers()
            if (
                joint.form in forms
                and covers <= remaining
                and joint.absent <= absent
                and all(record[name] == value for name, value in joint.states.items())
                and _sayable(joint, record)
                and len(chosen) < 3  # noqa: PLR2004 - a few joints, the rest singly
            ):
                chosen.append(joint)
                remaining = remaining - covers
                absent = absent - joint.absent
        chosen += [
            self._single(name, record[name], rng, forms) for name in sorted(remaining, key=self._order.__getitem__)
        ]
        for name in sorted(absent, key=self._order.__getitem__):
            pool = [p for form in forms for p in self._by_feature.get((f"absent {name}", form), [])]
            if pool and rng.random() < 0.3:  # noqa: PLR2004 - mostly absent means that nobody says a word
                chosen.append(rng.choice(pool))
        return chosen

    def _single(self, name: str, value: Value, rng: random.Random, forms: tuple[Form, ...]) -> Phrase:
        pool: list[Phrase] = []
        weights: list[float] = []
        record = {name: value}
        for form in forms:
            phrases = [
                p
                for p in self._by_feature.get((name, form), [])
                if p.states.get(name, value) == value and (not p.forms or _sayable(p, record))
            ]
            special = [p for p in phrases if p.states]
            counted = [p for p in phrases if p.counted]
            plain = [p for p in phrases if p.numbers]
            for group, weight in ((special, 2.0), (counted, 3.0 if value else 0.0), (plain, 1.0)):
                pool += group
                weights += [weight / len(group) for _ in group]
        if not pool or not any(weights):
            raise AssertionError(f"the wording says nothing about {name} = {value}")
        return rng.choices(pool, weights)[0]

    def _say(self, phrase: Phrase, record: Mapping[str, Value], person: Person, rng: random.Random) -> str:
        text, listed = phrase.text, phrase.counted if len(phrase.counted) > 1 else ()
        if phrase.counted:
            text = text.replace("{counted}", self._counted(phrase.counted, record, rng))
        text = other_numbers(person.fill(text, rng), rng)
        for name in sorted(phrase.numbers):  # a set's order changes from process to process
            slot = r"\{" + re.escape(name) + r"(?::(\w+))?\}"
            # "{v}mm", "\u00a3{v}" and "{v}/80" want digits: number words would run into the letters.
            glued = re.search(rf"[^\W_]{slot}|[\u00a3$\u20ac/]{slot}|{slot}[^\W_]|{slot}/", text)
            for match in re.finditer(slot, text):
                value, form = _as_float(record[name]), match[1]
                number = self._number(name, value, rng, worded=0.0 if glued else 0.2, form=form)
                text = text.replace(match[0], number, 1)
        marks = self._marks(phrase.covers() - phrase.numbers - frozenset(listed))
        said = marks + text + CLOSE * len(marks)
        wrong = self._other_phrase(phrase, rng) if len(marks) == 1 and rng.random() < CORRECTED else None
        if wrong is None:
            return said
        taken_back = other_numbers(person.fill(wrong.text, rng), rng)
        return corrected(taken_back, said, rng, clause=phrase.form == "clause")

    def _other_phrase(self, phrase: Phrase, rng: random.Random) -> Phrase | None:
        """A phrase that says another category of the one that this phrase says; None where there is none."""
        ((name, value), *more) = phrase.states.items() or [("", None)]
        others = [
            p
            for p in self._by_feature.get((name, phrase.form), [])
            if not (more or p.numbers or p.counted) and isinstance(p.states[name], str) and p.states[name] != value
        ]
        return rng.choice(others) if others else None

    def _counted(self, names: Sequence[str], record: Mapping[str, Value], rng: random.Random) -> str:
        """Nouns that sum to a feature's count; to those of several in any order, each noun marked for its own."""
        parts = []
        for name in names:
            nouns = counted(int(_as_float(record[name])), self._wording.counted_nouns[name], rng)
            parts += [self._marks([name]) + noun + CLOSE for noun in nouns] if len(names) > 1 else nouns
        if len(names) > 1:
            rng.shuffle(parts)
        return enumerated(parts)

    def _marks(self, names: Iterable[str]) -> str:
        """Opening marks of these features, in the schema's order."""
        return "".join(chr(OPEN + self._order[name]) for name in sorted(names, key=self._order.__getitem__))

    def _number(
        self, name: str, value: float, rng: random.Random, *, worded: float = 0.2, form: str | None = None
    ) -> str:
        said = say(form, value, rng, worded=worded) if form else written(value, rng, worded=worded)
        slip = slipped(value, rng) if worded and not form and rng.random() < _SLIPS else ""
        return slip + chr(OPEN + self._order[name]) + said + CLOSE

    # -- registers ---------------------------------------------------------------------------------------------

    def _prose(  # noqa: PLR0913 - one step of ask(), with what the steps before it made
        self,
        record: Mapping[str, Value],
        person: Person,
        remaining: set[str],
        intro: str,
        rng: random.Random,
        *,
        letter: bool,
    ) -> str:
        phrases = self._cover(record, remaining, rng, ("clause", "clause", "np"))
        rng.shuffle(phrases)
        clauses = [self._say(p, record, person, rng) for p in phrases if p.form == "clause"]
        nouns = [self._say(p, record, person, rng) for p in phrases if p.form == "np"]
        sentences: list[str] = []
        if intro and person.pronoun == "I":
            sentences.append(intro)
        elif intro:
            intro = intro.rstrip(",") if not nouns else intro
            lead = rng.choice(["{}", "This is about {}", "I am asking about {}", "We have {} here", "Consider {}"])
            if nouns and rng.random() < 0.6:  # noqa: PLR2004 - "a man of 51 with a cholesterol of 220"
                take = rng.randint(1, len(nouns))
                lead += " with " + listing(nouns[:take], rng)
                nouns = nouns[take:]
            elif lead == "{}":
                lead = "This is about {}"
            sentences.append(lead.format(intro).replace(",,", ","))
        has = person.verbs()["has"]
        while nouns:
            take = rng.randint(1, min(4, len(nouns)))
            verb = rng.choice([f"{person.pronouns()[0]} {has}", "there is", "the notes show", "we know of"])
            sentences.append(f"{verb} {listing(nouns[:take], rng)}")
            nouns = nouns[take:]
        while clauses:
            take = min(len(clauses), rng.choice([1, 1, 2, 2, 3]))
            sentences.append(joined(clauses[:take], rng))
            clauses = clauses[take:]
        head, tail = sentences[:1], sentences[1:]
        rng.shuffle(tail)
        chat = self._wording.chatter
        for _ in range(rng.choice([0, 0, 1, 2]) if letter else rng.choice([0, 0, 0, 1])):
            tail.insert(rng.randint(0, len(tail)), person.chat(rng.choice(chat["aside"]), rng))
        text = " ".join(capital(s) + "." for s in head + tail)
        opener = rng.choice(chat["opener"]) if letter and chat["opener"] else ""
        closer = rng.choice(chat["closer"]) if letter and chat["closer"] and rng.random() < 0.4 else ""  # noqa: PLR2004
        return self._with_ask(text, person, rng, opener=opener, closer=closer)

    def _with_ask(self, text: str, person: Person, rng: random.Random, *, opener: str, closer: str) -> str:
        ask = capital(person.fill(rng.choice(self._wording.ask["sentence"]), rng))
        front = self._wording.ask["front"]
        if front and rng.random() < 0.15:  # noqa: PLR2004
            text = f"{capital(person.fill(rng.choice(front), rng))} {text}"
            parts = [text, ask] if rng.random() < 0.6 else [text]  # noqa: PLR2004
        else:
            parts = [ask, text] if rng.random() < 0.2 else [text, ask]  # noqa: PLR2004
        glue = rng.choice([" ", " ", "\n"])
        return glue.join(person.chat(p, rng) for p in (opener, *parts, closer) if p)

    def _listed(  # noqa: PLR0913, PLR0917 - one step of ask(), with what the steps before it made
        self,
        record: Mapping[str, Value],
        person: Person,
        remaining: set[str],
        intro: str,
        rng: random.Random,
        register: str,
    ) -> str:
        items: list[str] = []
        if register == _PAIRS:
            style = form_style(rng)
            blanks = [blank_line(self._wording, name, style, rng) for name, value in record.items() if value is None]
            items += [line for line in blanks if line is not None]
            for name in sorted(remaining):
                pair = self._pair(name, record[name], style, rng) if rng.random() < 0.85 else None  # noqa: PLR2004
                if pair is not None:
                    items.append(pair)
                    remaining = remaining - {name}
        forms: tuple[Form, ...] = ("note", "note", "np")
        items += [self._say(p, record, person, rng) for p in self._cover(record, remaining, rng, forms)]
        rng.shuffle(items)
        if rng.random() < 0.2:  # noqa: PLR2004
            place = rng.randint(0, len(items))
            items.insert(place, person.chat(rng.choice(self._wording.chatter["aside"]), rng))
        if intro:
            items.insert(0 if rng.random() < 0.8 else rng.randint(0, len(items)), intro.rstrip(","))  # noqa: PLR2004
        ask = person.fill(rng.choice(self._wording.ask[rng.choice(["short", "short", "sentence"])]), rng)
        if register == _NOTES:
            mark = rng.choice([", ", ", ", ", ", ", ", "; ", "; ", ". ", ". ", " - ", " - ", " / ", " STOP "])
            body = mark.join(capital(item) if mark == ". " else item for item in items)
            body += rng.choice([". ", ", ", " - "])
            return f"{body}{ask}" if rng.random() < 0.8 else f"{ask} {body.rstrip(' ,-.')}."  # noqa: PLR2004
        bullet = rng.choice(["- ", "* ", "", "\u2022 "])
        lines = [bullet + (capital(item) if rng.random() < 0.3 else item) for item in items]  # noqa: PLR2004
        glue = "\n" if bullet or rng.random() < 0.6 else rng.choice(["; ", " | "])  # noqa: PLR2004
        return glue.join([*lines, ask] if rng.random() < 0.8 else [ask, *lines])  # noqa: PLR2004

    def _pair(self, name: str, value: Value, style: FormStyle, rng: random.Random) -> str | None:
        number = "" if isinstance(value, str) else self._number(name, _as_float(value), rng)
        return form_line(self._wording, name, value, style, rng, marked=self._marked, number=number)

    def _marked(self, name: str, text: str) -> str:
        return f"{self._marks([name])}{text}{CLOSE}"


def _sayable(phrase: Phrase, record: Mapping[str, Value]) -> bool:
    """Whether the forms of a phrase's numbers can say these values, and its nouns these counts."""
    some = all(record[name] for name in phrase.counted)
    return some and all(can_say(form, record[name]) for name, form in phrase.forms)


def _is_infant(feature: Feature, age: Value) -> bool:
    """Whether an age is one that people give in months."""
    return fits("months", feature) and isinstance(age, float) and not age.is_integer() and months_of(age) is not None


def _as_float(value: Value) -> float:
    assert isinstance(value, float), "a numeric slot, a count or a pair is only chosen for a number"  # noqa: S101
    return value
