"""Strict documents: one text for one meaning."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamdex_fl.envelope.canonical import Fields, decimal, dumps, parse, timestamp
from llamdex_fl.envelope.refusal import DocumentError

BAD = {
    "not json": b"nope",
    "list": b"[]",
    "duplicate": b'{"a":1,"a":1}',
    "float": b'{"a":1.0}',
    "exponent": b'{"a":1e2}',
    "nan": b'{"a":NaN}',
    "space": b'{"a": 1}',
    "unsorted": b'{"b":1,"a":1}',
    "escape": b'{"a":"\\u0061"}',
    "not utf-8": b'{"a":"\xff"}',
    "deep": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "large integer": b'{"a":9007199254740993}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "bom": b'\xef\xbb\xbf{"a":1}',
    "large": b'{"a":"' + b"x" * 10000 + b'"}',
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str):
    with pytest.raises(DocumentError):
        parse(BAD[name], limit=9000 if name == "large" else 1 << 20)


@given(st.binary(max_size=60))
def test_random_bytes_give_a_document_or_a_typed_refusal(data: bytes):
    try:
        parse(data, limit=100)
    except DocumentError:
        return
    assert data.startswith(b"{")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_decimals_round_trip(number: float):
    fields = parse(dumps({"n": decimal(number)}), limit=1000)
    assert fields.decimal("n") == number
    fields.done()


@pytest.mark.parametrize("text", ["1", "1.00", "nan", "inf", "-inf", "1e5", "0x1p3", " 1.0", "1_0.0", "1.0 ", ""])
def test_other_spellings_of_a_number_are_refused(text: str):
    with pytest.raises(DocumentError):
        parse(dumps({"n": text}), limit=1000).decimal("n")


@pytest.mark.parametrize("text", ["2026-1-31T12:00:00Z", "2026-01-31T12:00:00+00:00", "2026-02-30T00:00:00Z", ""])
def test_other_times_are_refused(text: str):
    with pytest.raises(DocumentError):
        parse(dumps({"t": text}), limit=1000).moment("t")


def test_time_round_trip():
    moment = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
    assert parse(dumps({"t": timestamp(moment)}), limit=1000).moment("t") == moment


def test_unknown_missing_and_wrong_fields():
    with pytest.raises(DocumentError, match="no further fields"):
        Fields({"a": 1}, "x").done()
    with pytest.raises(DocumentError, match="a field a"):
        Fields({}, "x").text("a")
    for value, read in (
        (True, lambda f: f.integer("a")),
        (-1, lambda f: f.integer("a")),
        ("1", lambda f: f.integer("a")),
        ("AA", lambda f: f.hexadecimal("a", size=1)),
        ("aaa", lambda f: f.octets("a", size=1)),
        ("a b", lambda f: f.word("a")),
        ("../x", lambda f: f.word("a")),
        (1, lambda f: f.text("a")),
        ("xx", lambda f: f.text("a", limit=1)),
        ([], lambda f: f.child("a")),
        ({}, lambda f: f.children("a", limit=1)),
        ([1, 2], lambda f: f.children("a", limit=1)),
        (["a"], lambda f: f.digests("a", limit=1)),
        ({"a b": {}}, lambda f: f.named_children("a", limit=1)),
    ):
        with pytest.raises(DocumentError):
            read(Fields({"a": value}, "x"))
