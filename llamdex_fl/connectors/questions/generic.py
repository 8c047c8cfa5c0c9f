"""A wording from a schema alone: what anybody can say who knows a feature's name, description, unit and values.

It is what a new domain is read by until people have written how they talk about it, and it stands beside the authors'
wordings of a domain, for the questions that use the schema's own words (a form, a system's export).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from llamdex_fl.connectors.questions.grammar import article
from llamdex_fl.connectors.questions.saying import fits
from llamdex_fl.connectors.questions.wording import Wording, wording_of
from llamdex_fl.schema import Feature, Schema

__all__ = ["generic_document", "generic_wording", "nouns_of"]

_YES, _NO = "yes", "no"
#: Words that say nothing without the name of their feature.
_VAGUE = frozenset("yes no other unknown none more less usual normal critical low high medium".split())  # noqa: SIM905
_MODALS = "will|would|can|could|should|did|might|may"
_OPENERS = [
    "Hello,",
    "Hi there,",
    "Good morning,",
    "To whom it may concern,",
    "Dear Dr {name},",
    "Quick question.",
    "Hi,",
]
_ASIDES = [
    "I noted this down {n} days ago",
    "the file has the number {n}",
    "{name} sent me this",
    "I read it on page {n} of the report",
    "my phone number ends in {n}",
    "this is about case {n}",
    "I have asked {name} as well",
    "it took me {n} minutes to find all this",
]
_CLOSERS = ["Thanks.", "Thank you in advance.", "Best, {name}.", "Kind regards, {name}", "Any help is welcome."]

#: How yes and no are said of a noun, by form; and the words behind its key.
_SAID_BY: dict[str, tuple[dict[str, list[str]], list[str]]] = {
    _YES: (
        {
            "clause": ["{}: yes", "as for {}, the answer is yes", "there is {}", "{} is confirmed"],
            "np": ["{}", "{} (yes)"],
            "note": ["{}", "{}: yes", "{} +", "{} yes", "with {}", "{}: positive", "{} - yes"],
        },
        ["yes", "y", "true", "present", "positive", "Y", "+"],
    ),
    _NO: (
        {
            "clause": [
                "{}: no",
                "as for {}, the answer is no",
                "there is no {}",
                "{} is ruled out",
                "there is not any {}",
            ],
            "np": ["no {}", "{} (no)", "not any {}"],
            "note": ["no {}", "{}: no", "without {}", "{} no", "not {}", "{} -", "{}: negative", "{} - no"],
        },
        ["no", "n", "false", "absent", "negative", "none", "N", "-"],
    ),
}
_LEADS = ("Tell me,", "I would like to know:", "What do you think:", "Can you say:", "My question:")


def generic_wording(
    schema: Schema,
    *,
    said: Mapping[str, Sequence[str]] | None = None,
    words: Mapping[tuple[str, str], Sequence[str]] | None = None,
    nouns: Sequence[str] = (),
) -> Wording:
    """The wording of a schema that is made of its own names, descriptions, units and values.

    Args:
        schema: of tables; a schema of texts has other wordings.
        said: more names of features, by feature.
        words: more words for categories, by feature and category.
        nouns: what a record is about ("client"); without any they are taken from the schema's question.
    """
    return wording_of(schema, [("its names", generic_document(schema, said=said, words=words, nouns=nouns))])


def generic_document(
    schema: Schema,
    *,
    said: Mapping[str, Sequence[str]] | None = None,
    words: Mapping[tuple[str, str], Sequence[str]] | None = None,
    nouns: Sequence[str] = (),
) -> dict[str, Any]:
    """What ``generic_wording`` is made of, as a wording file would have it; arguments as there."""
    said, words = said or {}, words or {}
    nouns = list(nouns) or nouns_of(schema)
    shared = _shared_words(schema)
    features = {}
    for feature in schema.features:
        labels = _unique([*said.get(feature.name, ()), *_labels(feature)])
        if not feature.is_category:
            features[feature.name] = _numeric(feature, labels)
        elif set(feature.categories) == {_YES, _NO}:
            features[feature.name] = _yes_no(feature, labels)
        else:
            own = {
                value: _unique([*words.get((feature.name, value), ()), *_written(value)])
                for value in feature.categories
            }
            features[feature.name] = _category(labels, own, shared)
    person = any(feature.name == "age" for feature in schema.features)
    return {
        "schema": schema.name,
        "subject": [
            {"noun": nouns, "short": nouns, "pronoun": "they" if person else "it", "states": {}},
            {"noun": ["case", "record", "entry"], "short": ["case", "record"], "pronoun": "it", "states": {}},
        ],
        "feature": features,
        "joint": _pairs(schema, features),
        "ask": _ask(schema, nouns),
        "chatter": {"opener": _OPENERS, "aside": _ASIDES, "closer": _CLOSERS},
    }


def nouns_of(schema: Schema) -> list[str]:
    """What a record of the schema is about, as far as its question and descriptions tell."""
    found = re.findall(r"\bthis ([a-z]+ [a-z]+) (?:be|have|has|is|was|get)\b", schema.question)
    found = found or re.findall(r"\b(?:this|the) ([a-z]+)\b", schema.question)
    described = [noun for feature in schema.features for noun in re.findall(r" of the ([a-z]+)$", feature.description)]
    often = [noun for noun in described if described.count(noun) > 1]
    return _unique([*found[:1], *often]) or ["case"]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _labels(feature: Feature) -> list[str]:
    """Names of a feature, as nouns: of "has a housing loan" and "age of the client" the shorter ones too."""
    described = feature.description.split(",")[0].strip().replace("{", "(").replace("}", ")")
    noun = re.sub(r"^(?:has|have|is|was|whether (?:there is|it has)|type of|kind of)\s+(?:an?\s+)?", "", described)
    short = re.split(r" (?:of|in|on|at|for) (?:the|an?) ", noun)[0]
    name = re.sub(r"[_-]+", " ", feature.name)
    return _unique([name, noun, short, feature.name])


def _written(value: str) -> list[str]:
    return _unique([value, re.sub(r"[_]+", " ", value)])


def _shared_words(schema: Schema) -> set[str]:
    """Words of categories that more than one feature has, or that a feature's name holds: alone they are ambiguous."""
    every = [word.lower() for f in schema.features for value in f.categories for word in _written(value)[-1:]]
    names = {word for f in schema.features for label in _labels(f) for word in label.lower().split()}
    return {word for word in every if every.count(word) > 1 or word in names} | _VAGUE


def _numeric(feature: Feature, labels: Sequence[str]) -> dict[str, Any]:
    amounts = ["{v}"]
    if feature.unit:
        amounts += [f"{{v}} {feature.unit}"]
    amounts += [f"{{v:{form}}}" for form in ("duration", "milli") if fits(form, feature)]
    clause, np, note = list[str](), list[str](), list[str]()
    for label in labels:
        for amount in _unique(amounts):
            clause += [f"{{his}} {label} is {amount}", f"the {label} is {amount}", f"the {label} came to {amount}"]
            clause += [f"{{his}} {label} was given as {amount}", f"for {label} we have {amount}"]
            np += [f"{article(label)} {label} of {amount}", f"{amount} as {label}"]
            note += [f"{label} {amount}", f"{label}: {amount}", f"{label} = {amount}", f"{label} of {amount}"]
    entry: dict[str, Any] = {"label": list(labels), "clause": clause, "np": np, "note": note}
    low, high = feature.low_high()
    described = feature.description.split(",")[0]
    if counted := re.match(r"number of (.+)", described):
        things = counted.group(1)
        np += [f"{{v}} {things}"]
        note += [f"{{v}} {things}", f"{things}: {{v}}"]
        clause += [f"there were {{v}} {things}", f"the count of {things} is {{v}}"]
        if low <= 0 <= high:
            none = [f"no {things}"]
            entry["value"] = {"0": {"clause": [f"there were no {things}"], "np": none, "note": none}}
    if feature.unit and described.startswith(f"{feature.unit} "):
        clause += [f"it was {{v}} {described}"]
        note += [f"{{v}} {described}"]
    if feature.unit == "years" and "age" in labels:
        clause += ["{he} {is} {v}", "{he} {is} {v} years old"]
        note += ["{v} years old", "{v} yrs", "aged {v}"]
        if feature.kind == "number":
            clause += ["{he} {is} {v:months} old"]
            note += ["{v:months} old"]
    entry["absent"] = _absent(labels)
    return entry


def _pairs(schema: Schema, features: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two numbers in one breath: names first and then the values, or name by name."""
    numeric = [feature.name for feature in schema.features if not feature.is_category and not feature.is_text]
    clause, note = list[str](), list[str]()
    for one, other in [*pairwise(numeric), *pairwise(reversed(numeric))]:
        a, b = (next(label for label in features[name]["label"] if "_" not in label) for name in (one, other))
        clause += [f"{{his}} {a} and {b} are {{{one}}} and {{{other}}}", f"{a} is {{{one}}} and {b} {{{other}}}"]
        clause += [f"{a} and {b} were {{{one}}} and {{{other}}} respectively"]
        note += [f"{a} / {b}: {{{one}}} / {{{other}}}", f"{a} {{{one}}} and {b} {{{other}}}"]
    return [{"form": form, "text": texts} for form, texts in (("clause", clause), ("note", note)) if texts]


def _yes_no(feature: Feature, labels: Sequence[str]) -> dict[str, Any]:
    spoken = [label for label in labels if "_" not in label] or list(labels)
    values = {
        value: {form: [text.format(label) for label in spoken for text in texts] for form, texts in forms.items()}
        | {"word": words}
        for value, (forms, words) in _SAID_BY.items()
    }
    verb = re.match(r"(has|is|was) (.+)", feature.description.split(",")[0])
    if verb and verb.group(1) == "has":
        thing = verb.group(2)
        values[_YES]["clause"] += [f"{{he}} {{has}} {thing}"] * 3
        values[_NO]["clause"] += [f"{{he}} {{does}} not have {thing}", f"{{he}} {{has}} not got {thing}"]
    elif verb:
        values[_YES]["clause"] += [f"{{he}} {{{verb.group(1)}}} {verb.group(2)}"] * 2
        values[_NO]["clause"] += [f"{{he}} {{{verb.group(1)}}} not {verb.group(2)}"] * 2
    return {"label": list(labels), "value": values, "absent": _absent(labels)}


def _category(labels: Sequence[str], words: Mapping[str, Sequence[str]], shared: set[str]) -> dict[str, Any]:
    values = {}
    for value, own in words.items():
        clause, np, note = list[str](), list[str](), list[str]()
        for word in own:
            for label in labels:
                clause += [f"{{his}} {label} is {word}", f"the {label} is {word}", f"for {label} we have {word}"]
                np += [f"{word} as {label}", f"the {label} {word}"]
                note += [f"{label} {word}", f"{label}: {word}", f"{word} ({label})", f"{label} = {word}"]
            if word.lower() not in shared and not word[:1].isdigit():
                note += [word] * 3
                np += [f'"{word}"']
                clause += [f"it says {word}"]
        values[value] = {"clause": clause, "np": np, "note": note, "word": list(own)}
    entry: dict[str, Any] = {"label": list(labels), "value": values}
    if not {"unknown", "missing"} & {value.lower() for value in words}:
        entry["absent"] = _absent(labels)
    return entry


def _absent(labels: Sequence[str]) -> dict[str, list[str]]:
    spoken = [label for label in labels if "_" not in label] or list(labels)
    clauses = (
        "nobody noted {{his}} {}",
        "{{his}} {} is not known",
        "the {} is missing",
        "of {{his}} {} nothing is known",
        "I do not know the {}",
        "what the {} was, nobody recorded",
        "no {} is on file",
    )
    notes = ("{} unknown", "{}: ?", "{} not recorded", "{} n/a", "no {} on file", "{} missing", "{} not given")
    return {
        "clause": [text.format(label) for label in spoken for text in clauses],
        "note": [text.format(label) for label in spoken for text in notes],
    }


def _ask(schema: Schema, nouns: Sequence[str]) -> dict[str, list[str]]:
    question = schema.question.replace("{", "(").replace("}", ")")
    of = re.escape(nouns[0])
    spoken = re.sub(rf"\b[Tt]his {of}\b", "{he}", question)
    spoken = re.sub(r"^(Does|Is|Was|Has) \{he\}", lambda match: f"{{{match.group(1).lower()}}} {{he}}", spoken)
    # Only a verb that does not change, or one with a slot, stands beside {he}.
    agrees = re.match(rf"^(?:\{{\w+\}}|(?i:{_MODALS})) \{{he\}}", spoken) or "{he}" not in spoken
    asked = _unique([question, spoken if agrees else question])
    lower = question[:1].lower() + question[1:]
    target = re.sub(r"[_-]+", " ", schema.target.name)
    return {
        "sentence": [
            *asked * 3,
            *(f"{lead} {lower}" for lead in _LEADS),
            f"{target}: what would you say?",
            f"Which is it: {', '.join(schema.target.answers[:-1])} or {schema.target.answers[-1]}?",
        ],
        "short": [question, f"{target}?", f"{target.capitalize()}: ?", f"your call on {target}?"],
        "front": [f"A question about {target}:", f"I am asking about {target}.", f"{schema.title}:"],
    }
