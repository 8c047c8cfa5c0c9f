"""The generator on a toy wording, where everything it may say is known."""

import os
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from llamdex_fl.connectors.numbers import find_numbers
from llamdex_fl.connectors.questions import QuestionGenerator, Wording, load_wording, sample_record
from llamdex_fl.connectors.questions.question import unmarked
from llamdex_fl.connectors.questions.rows import row
from llamdex_fl.connectors.questions.typing_errors import typed
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Feature, Schema, Target, load_library_schema


def test_spans_hold_the_words_that_say_a_feature(toy_wording: Wording) -> None:
    generator = QuestionGenerator(toy_wording, noise=0.0)
    for seed in range(100):
        question = generator.ask({"colour": "red", "weight": 123}, random.Random(seed))
        ((start, end),) = question.spans["colour"]
        assert "red" in question.text[start:end].lower()
        ((start, end),) = question.spans["weight"]
        assert question.text[start:end] in {"123", "123.0"} or "twenty" in question.text[start:end]


def test_noise_changes_words_and_no_values(toy_wording: Wording) -> None:
    noisy = QuestionGenerator(toy_wording, noise=1.0)
    clean = QuestionGenerator(toy_wording, noise=0.0)
    texts = [
        [generator.ask({"colour": "green", "weight": 77}, random.Random(seed)).text for seed in range(60)]
        for generator in (noisy, clean)
    ]
    assert sum(a != b for a, b in zip(*texts, strict=True)) > 20


def test_a_typing_error_makes_no_number() -> None:
    """Swapped letters turn "there" into "three"."""
    for seed in range(400):
        assert find_numbers(typed("there there there there there", random.Random(seed), noise=1.0)) == []


def test_what_is_taken_back_is_not_marked(toy_wording: Wording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamdex_fl.connectors.questions.generator.CORRECTED", 1.0)
    generator = QuestionGenerator(toy_wording, noise=0.0)
    both = 0
    for seed in range(60):
        question = generator.ask({"colour": "red", "weight": 123}, random.Random(seed))
        said = " ".join(question.text[start:end] for start, end in question.spans["colour"]).lower()
        assert "red" in said
        both += "green" in question.text.lower() and "green" not in said
    assert both > 10


def test_a_row_has_every_value_in_order_and_marks_it(toy_wording: Wording) -> None:
    for seed in range(60):
        text = row(toy_wording, {"colour": "red", "weight": 123.0}, random.Random(seed))
        question = unmarked(text, ["colour", "weight"], {})
        ((start, _),), ((left, right),) = question.spans["colour"], question.spans["weight"]
        assert start < left
        assert question.text[left:right] == "123"
        assert not unmarked(row(toy_wording, {"colour": None, "weight": None}, random.Random(seed)), [], {}).spans


def test_nobody_says_minus_zero() -> None:
    schema, rng = load_library_schema("heart"), random.Random(0)
    zeros = [value for _ in range(800) for value in sample_record(schema, rng).values() if value == 0.0]
    assert zeros
    assert all(str(value) in {"0", "0.0"} for value in zeros)


def test_what_is_absent_is_not_said(toy_wording: Wording) -> None:
    for seed in range(50):
        question = QuestionGenerator(toy_wording).ask({"colour": None, "weight": None}, random.Random(seed))
        assert not question.spans
        assert not re.search(r"\b(red|green)\b", question.text)


def test_a_hash_seed_changes_no_question() -> None:
    script = (
        "import random, hashlib\n"
        "from llamdex_fl.connectors.questions import QuestionGenerator, training_wording\n"
        "from llamdex_fl.schema import load_library_schema\n"
        "generator, rng = QuestionGenerator(training_wording(load_library_schema('heart'))), random.Random(1)\n"
        "print(hashlib.sha256(repr([generator.sample(rng) for _ in range(250)]).encode()).hexdigest())\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(said[0].strip()) == 64


def _toy_with_weight_as(phrase: str, tmp_path: Path, schema: Schema) -> QuestionGenerator:
    text = (Path(__file__).parents[3] / "fixtures" / "fruit.toml").read_text(encoding="utf-8")
    for old in ("{he} weighs {v} grams", "{his} weight {is} {v}", "a weight of {v} grams", "{v} g", "weighs {v}"):
        text = text.replace(f'"{old}"', f'"{phrase}"')
    (tmp_path / "fruit.toml").write_text(text.replace('label = ["weight"]', ""), encoding="utf-8")
    return QuestionGenerator(load_wording(schema, tmp_path / "fruit.toml"))


def test_numbers_that_could_run_together_do_not(tmp_path: Path, toy_schema: Schema) -> None:
    # "forty five" is 45 whatever the writer meant, so the generator writes "forty 5".
    generator = _toy_with_weight_as("forty {v} it weighs", tmp_path, toy_schema)
    questions = [generator.ask({"colour": None, "weight": 5 + 20}, random.Random(seed)) for seed in range(40)]
    questions += [generator.ask({"colour": None, "weight": 300}, random.Random(seed)) for seed in range(40)]
    for question in questions:
        ((start, end),) = question.spans["weight"]
        found = [n.value for n in find_numbers(question.text) if n.start < end and start < n.end]
        assert question.features["weight"] in found, question.text


def test_a_wording_whose_numbers_always_run_together_is_refused(tmp_path: Path, toy_schema: Schema) -> None:
    generator = _toy_with_weight_as("weight 1{v}", tmp_path, toy_schema)
    with pytest.raises(SchemaError, match="numbers can be read"):
        generator.ask({"colour": "red", "weight": 25}, random.Random(0))


@pytest.mark.parametrize("name", ["heart", "titanic"])
def test_made_up_records_lie_within_the_bounds_and_some_features_are_absent(name: str) -> None:
    schema = load_library_schema(name)
    rng = random.Random(0)
    records = [sample_record(schema, rng) for _ in range(500)]
    assert all(feature.contains(record[feature.name]) for record in records for feature in schema.features)
    absent = Counter(record[feature.name] is None for record in records for feature in schema.features)
    assert 0.05 < absent[True] / absent.total() < 0.3


_ODD_BOUNDS = [(-5.5, -0.5), (-1e9, 1e9), (3.0, 1000.5), (0.5, 1.5)]


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [("number", (0.2, 0.8)), ("number", (0.0, 0.04)), *product(("number", "integer"), _ODD_BOUNDS)],
)
def test_odd_bounds_hold_their_records(kind: str, bounds: tuple[float, float]) -> None:
    feature = Feature(name="f", kind="integer" if kind == "integer" else "number", description="d", bounds=bounds)
    target = Target(name="t", labels=("0", "1"), answers=("no", "yes"), sentences=("No.", "Yes."))
    schema = Schema(name="s", title="S", question="?", features=(feature,), target=target)
    rng = random.Random(0)
    assert all(feature.contains(sample_record(schema, rng)["f"]) for _ in range(300))


_FAMILY = """
schema = "family"
[[subject]]
noun = ["woman"]
pronoun = "she"
states = { sex = "female" }
[[subject]]
noun = ["person"]
pronoun = "it"
states = {}
[feature.sex.value.female]
clause = ["{he} {is} female"]
note = ["F"]
[feature.sex.value.male]
clause = ["{he} {is} male"]
note = ["M"]
[feature.own]
clause = ["{v} of {his} generation"]
note = ["own {v}"]
[feature.own.counted]
singular = ["brother", "{his} {spouse}"]
plural = ["brothers", "brothers or spouses"]
clause = ["{he} came with {counted}, next to room {n:200-300}"]
[feature.other]
clause = ["{v} of another generation"]
note = ["other {v}"]
[feature.other.counted]
singular = ["son", "daughter"]
plural = ["sons", "daughters"]
clause = ["{he} came with {counted}"]
[[joint]]
form = "clause"
counted = ["own", "other"]
text = ["{he} came with {counted}"]
[ask]
sentence = ["Well?"]
short = ["Well?"]
[chatter]
aside = ["it rained"]
"""


def _family(tmp_path: Path) -> QuestionGenerator:
    (tmp_path / "family.toml").write_text(_FAMILY, encoding="utf-8")
    features = (
        Feature(name="sex", kind="category", description="sex", categories=("female", "male")),
        Feature(name="own", kind="integer", description="own generation", bounds=(0.0, 8.0)),
        Feature(name="other", kind="integer", description="other generations", bounds=(0.0, 8.0)),
    )
    target = Target(name="t", labels=("0", "1"), answers=("no", "yes"), sentences=("No.", "Yes."))
    schema = Schema(name="family", title="t", question="q?", features=features, target=target)
    return QuestionGenerator(load_wording(schema, tmp_path / "family.toml"), noise=0.0)


def test_relatives_of_two_features_are_listed_together_and_each_knows_its_own(tmp_path: Path) -> None:
    generator = _family(tmp_path)
    record = {"sex": None, "own": 2.0, "other": 3.0}
    (joint,) = generator._joints
    texts = set()
    for rng in map(random.Random, range(200)):
        said = generator._say(joint, record, generator._person(record, rng, short=False), rng)
        question = unmarked(said, ["sex", "own", "other"], record)
        own, other = (" ".join(question.text[a:b] for a, b in question.spans[name]) for name in ("own", "other"))
        assert re.search("brother|spouse", own)
        assert re.search("son|daughter", other)
        assert not re.search("son|daughter", own)
        assert not re.search("brother|spouse", other)
        texts.add(question.text)
    assert any(re.search(r"(son|daughter).*brother", text) for text in texts)
    assert any(re.search(r"brother.*(son|daughter)", text) for text in texts)


def test_a_spouse_is_what_the_subject_makes_of_one(tmp_path: Path) -> None:
    generator = _family(tmp_path)
    texts = [
        generator.ask({"sex": sex, "own": 1, "other": None}, random.Random(seed)).text
        for sex in ("female", None)
        for seed in range(60)
    ]
    assert any("her husband" in text for text in texts[:60])
    assert any("its spouse" in text for text in texts[60:])
    assert not any("wife" in text for text in texts)
    rooms = {int(found) for text in texts for found in re.findall(r"room (\d+)", text)}
    assert len(rooms) > 10
    assert all(200 <= room <= 300 for room in rooms)
