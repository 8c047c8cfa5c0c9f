"""What a refusal of a document says: which field, what was expected, and never the value that was there."""

from collections.abc import Callable
from typing import Any

import pytest

from llamdex_fl.envelope.canonical import Fields
from llamdex_fl.envelope.refusal import Answer, DocumentError

READERS: dict[str, tuple[Callable[[Fields], Any], str]] = {
    "text": (lambda f: f.text("x"), "x: a text"),
    "word": (lambda f: f.word("x"), "x: an identifier"),
    "constant": (lambda f: f.constant("x", "y"), "x: 'y'"),
    "hexadecimal": (lambda f: f.hexadecimal("x", size=2), "x: 2 bytes in lower-case hex"),
    "octets": (lambda f: f.octets("x", size=2), "x: 2 bytes in lower-case hex"),
    "integer": (lambda f: f.integer("x", low=1, high=9), "x: a whole number from 1 to 9"),
    "decimal": (lambda f: f.decimal("x"), "x: a finite number as the shortest decimal text"),
    "moment": (lambda f: f.moment("x"), "x: a time such as 2026-01-31T12:00:00Z"),
    "document": (lambda f: f.document("x"), "x: an object"),
    "documents": (lambda f: f.documents("x", limit=3), "x: a list of at most 3"),
    "children": (lambda f: f.children("x", limit=3), "x: a list of at most 3"),
    "named": (lambda f: f.named_children("x", limit=3), "x: at most 3 objects, each under an identifier"),
    "digests": (lambda f: f.digests("x", limit=3), "x: a list of at most 3"),
}


@pytest.mark.parametrize("reader", READERS)
def test_texts(reader: str):
    read, expected = READERS[reader]
    with pytest.raises(DocumentError) as caught:
        read(Fields({"x": None}, "document"))
    assert (caught.value.problem, caught.value.expected, caught.value.got) == (
        "A document is wrong.",
        expected,
        "another value",
    )
    assert caught.value.answer is Answer.INVALID_ARGUMENT
    with pytest.raises(DocumentError) as caught:
        read(Fields({}, "document"))
    assert (caught.value.expected, caught.value.got) == ("a field x", "none")


def test_bounds():
    fields = Fields(
        {"a": "xy", "b": 1, "c": 9, "d": [{}, {}], "e": {"k": {}, "l": {}}, "f": ["ab" * 32] * 2, "g": 2**53 - 1}, "d"
    )
    assert fields.text("a", limit=2) == "xy"
    assert fields.integer("b", low=1, high=9) == 1
    assert fields.integer("c", low=1, high=9) == 9
    assert len(fields.children("d", limit=2)) == 2
    assert set(fields.named_children("e", limit=2)) == {"k", "l"}
    assert fields.digests("f", limit=2) == ("ab" * 32,) * 2
    assert fields.integer("g") == 2**53 - 1
    fields.done()
    assert Fields({"h": [{}, {}]}, "d").documents("h", limit=2) == [{}, {}]
    with pytest.raises(DocumentError):
        Fields({"h": [{}, {}]}, "d").documents("h", limit=1)
    for value, read in (
        ("xyz", lambda f: f.text("x", limit=2)),
        (0, lambda f: f.integer("x", low=1, high=9)),
        (10, lambda f: f.integer("x", low=1, high=9)),
        (2**53, lambda f: f.integer("x")),
        (-1, lambda f: f.integer("x")),
        (1.0, lambda f: f.integer("x")),
        ([{}, {}, {}], lambda f: f.children("x", limit=2)),
        ({"k": {}, "l": {}, "m": {}}, lambda f: f.named_children("x", limit=2)),
        ({"a b": {}}, lambda f: f.named_children("x", limit=2)),
        (["ab" * 32] * 3, lambda f: f.digests("x", limit=2)),
        (["ab" * 31], lambda f: f.digests("x", limit=2)),
        (["AB" * 32], lambda f: f.digests("x", limit=2)),
        ([1], lambda f: f.digests("x", limit=2)),
        ("abc", lambda f: f.hexadecimal("x", size=1)),
        ("xy", lambda f: f.hexadecimal("x", size=1)),
        ("x" * 129, lambda f: f.word("x")),
        ("", lambda f: f.word("x")),
        ("-x", lambda f: f.word("x")),
        ("1" * 33, lambda f: f.decimal("x")),
        (1, lambda f: f.decimal("x")),
        ("x", lambda f: f.decimal("x")),
        ("2026-01-31T12:00:00", lambda f: f.moment("x")),
        ("2026-02-30T12:00:00Z", lambda f: f.moment("x")),
        ("2026-1-31T12:00:00Z", lambda f: f.moment("x")),
    ):
        with pytest.raises(DocumentError):
            read(Fields({"x": value}, "d"))


def test_places():
    with pytest.raises(DocumentError) as caught:
        Fields({"x": {"y": 1}}, "top").child("x").done()
    assert (caught.value.problem, caught.value.expected, caught.value.got) == (
        "A x is wrong.",
        "no further fields",
        "y",
    )
    with pytest.raises(DocumentError) as caught:
        Fields({"x": [{"z": 1, "y": 1}]}, "top").children("x", limit=1)[0].done()
    assert (caught.value.problem, caught.value.got) == ("A x is wrong.", "y, z")
    with pytest.raises(DocumentError) as caught:
        Fields({"x": {"k": {"y": 1}}}, "top").named_children("x", limit=1)["k"].done()
    assert caught.value.problem == "A x.k is wrong."
    with pytest.raises(DocumentError) as caught:
        Fields([], "top")
    assert (caught.value.expected, caught.value.got) == ("an object", "list")
    assert Fields({"x" * 300: 1}, "top") is not None
    with pytest.raises(DocumentError) as caught:
        Fields({"x" * 300: 1}, "top").done()
    assert len(caught.value.got) == 200
