"""Wording files: what they may hold, and what is refused with the place named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llamdex_fl.connectors.questions import Wording, load_wording, ordinary_questions
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Schema

_TOY = Path(__file__).parents[3] / "fixtures" / "fruit.toml"


def _without(part: str, by: str = "") -> Callable[[str], str]:
    def change(text: str) -> str:
        assert part in text
        return text.replace(part, by)

    return change


def _with(more: str) -> Callable[[str], str]:
    return lambda text: f"{text}\n{more}\n"


_WRONG = {
    "no TOML": _with("= ="),
    "another schema": _without('schema = "fruit"', 'schema = "heart"'),
    "no schema": _without('schema = "fruit"'),
    "an unknown feature": _with('[feature.size]\nclause = ["{v}"]'),
    "an unknown category": _with('[feature.colour.value.blue]\nnote = ["blue"]'),
    "an unknown slot": _without("{he} weighs {v} grams", "{she} weighs {v} grams"),
    "a category's slot": _without("{he} weighs {v} grams", "{he} weighs {v} grams and {is} {colour}"),
    "a numeric clause without its number": _without("{he} weighs {v} grams", "{he} weighs a lot"),
    "a number for a category": _without("{he} {is} red", "{he} {is} {v} red"),
    "a chatter slot in a phrase": _without("{he} weighs {v} grams", "{he} weighs {v} grams, says {name}"),
    "a special value beyond the bounds": _with('[feature.weight.value."1000"]\nnote = ["a whole kilo"]'),
    "a special value that is no number": _with('[feature.weight.value.heavy]\nnote = ["heavy"]'),
    "a subject that states what the schema does not know": _without("states = {}", 'states = { colour = "blue" }'),
    "a subject without a pronoun": _without('pronoun = "it"'),
    "a when that is no range": _without("states = {}", "states = {}\nwhen = { weight = 5 }"),
    "a joint without texts": _with('[[joint]]\nform = "note"\nstates = { colour = "red" }'),
    "a form that does not exist": _with(
        '[[joint]]\nform = "haiku"\ntext = ["red, {weight}"]\nstates = { colour = "red" }'
    ),
    "a phrase that is no text": _without('note = ["red"]', "note = [5]"),
    "a counted noun without its plural": _with(
        '[feature.weight.counted]\nsingular = ["gram"]\nplural = []\nnp = ["{counted}"]'
    ),
    "a table where a list belongs": _with("[feature.colour.label]\na = 1")
    and _without('label = ["colour"]', "label = 5"),
    "a chatter slot in a question": _without("Is {he} ripe?", "Is {he} ripe after {n} days?"),
    "an unknown slot in chatter": _without("it took {n} days", "it took {days} days"),
    "a slot in a subject": _without('"pear"', '"{n} pears"'),
    "a slot in a label": _without('label = ["colour"]', 'label = ["{v}"]'),
    "an unknown form of a number": _without("{he} weighs {v} grams", "{he} weighs {v:roman} grams"),
    "a form that the unit does not fit": _without("{he} weighs {v} grams", "{he} weighs {v:milli}"),
    "a form of a person's slot": _without("{he} weighs {v} grams", "{he:ordinal} weighs {v} grams"),
    "no subject": _without('[[subject]]\nnoun = ["fruit", "apple", "pear"]\npronoun = "it"\nstates = {}'),
    "no question": _without('sentence = ["Is {he} ripe?"]'),
    "an unknown key": _with('[greeting]\ntext = ["Hello"]'),
    "a misspelt key": _without('note = ["red"]', 'notes = ["red"]'),
}


@pytest.mark.parametrize("change", _WRONG.values(), ids=_WRONG)
def test_what_is_no_wording_is_refused(tmp_path: Path, toy_schema: Schema, change: Callable[[str], str]) -> None:
    path = tmp_path / "fruit.toml"
    path.write_text(change(_TOY.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(SchemaError):
        load_wording(toy_schema, path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, toy_schema: Schema, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "fruit.toml").write_bytes(content)
    with pytest.raises(SchemaError, match=r"fruit\.toml"):
        load_wording(toy_schema, tmp_path / "fruit.toml")


def test_phrases_know_what_they_say(toy_wording: Wording) -> None:
    by_text = {phrase.text: phrase for phrase in toy_wording.phrases}
    assert by_text["{he} weighs {weight} grams"].numbers == {"weight"}
    assert by_text["{he} {is} green"].states == {"colour": "green"}
    assert by_text["{he} {is} green"].covers() == {"colour"}


def test_ordinary_questions_are_questions_and_differ() -> None:
    questions = ordinary_questions()
    assert len(questions) >= 200
    assert len(set(questions)) == len(questions)


def test_near_misses_of_every_schema_are_ordinary_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "ordinary.txt": "Who?\n\nWhat is new?\n",
        "wine/near_misses-second.txt": "Which wine goes with fish?\nWho?\n",
        "wine/near_misses-first.txt": "How is wine made?\n",
        "bank/near_misses-first.txt": "  What is a bank? \n",
        "bank/notes.txt": "no question\n",
    }
    for name, text in files.items():
        path = tmp_path / "wording" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr("llamdex_fl.connectors.questions.wording.files", lambda _: tmp_path)
    assert ordinary_questions() == [
        "Who?", "What is new?", "What is a bank?", "How is wine made?", "Which wine goes with fish?",
    ]  # fmt: skip


def test_phrases_know_the_forms_of_their_numbers(tmp_path: Path, toy_schema: Schema) -> None:
    path = tmp_path / "fruit.toml"
    joint = '[[joint]]\nform = "note"\ntext = ["red, no. {weight:ordinal}"]\nstates = { colour = "red" }'
    text = _TOY.read_text(encoding="utf-8").replace("{he} weighs {v} grams", "{he} {is} the {v:ordinal}")
    path.write_text(f"{text}\n{joint}\n", encoding="utf-8")
    by_text = {phrase.text: phrase for phrase in load_wording(toy_schema, path).phrases}
    for wanted in ("{he} {is} the {weight:ordinal}", "red, no. {weight:ordinal}"):
        assert by_text[wanted].numbers == {"weight"}
        assert by_text[wanted].forms == {("weight", "ordinal")}
    assert by_text["{his} weight {is} {weight}"].forms == set()
