"""Statements: a round trip, and a matrix of what must be refused although it is signed."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rfc8785

from llamdex_fl.envelope import (
    Answer,
    DocumentError,
    RefusedError,
    SealedFile,
    Statement,
    seal,
    sign,
    verify_statement,
)
from llamdex_fl.envelope.statement import STATEMENT_LIMIT, STATEMENT_TYPE

Change = Callable[[dict[str, Any]], None]


def put(*path: str | int, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


def drop(*path: str | int) -> Change:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return change


P = "predicate"
G = (P, "guarantee")
WRONG: dict[str, tuple[Answer, Change]] = {
    "other statement type": (Answer.FAILED_PRECONDITION, put("_type", value="https://in-toto.io/Statement/v0.1")),
    "other predicate type": (Answer.FAILED_PRECONDITION, put("predicateType", value="urn:llamdex:release:v2")),
    "other suite": (Answer.FAILED_PRECONDITION, put(P, "suite", value="LDX2")),
    "unknown field": (Answer.INVALID_ARGUMENT, put(P, "extra", value="x")),
    "unknown top field": (Answer.INVALID_ARGUMENT, put("extra", value="x")),
    "missing field": (Answer.INVALID_ARGUMENT, drop(P, "counter")),
    "two subjects": (Answer.INVALID_ARGUMENT, put("subject", value=[{}, {}])),
    "no subject": (Answer.INVALID_ARGUMENT, put("subject", value=[])),
    "other subject": (Answer.INVALID_ARGUMENT, put("subject", 0, "name", value="x")),
    "second digest": (Answer.INVALID_ARGUMENT, put("subject", 0, "digest", "md5", value="00")),
    "upper-case digest": (Answer.INVALID_ARGUMENT, put(P, "schemaDigest", value="AA" * 32)),
    "short digest": (Answer.INVALID_ARGUMENT, put(P, "challenge", value="00" * 31)),
    "number as text": (Answer.INVALID_ARGUMENT, put(P, "counter", value="7")),
    "text as number": (Answer.INVALID_ARGUMENT, put(*G, "epsilon", value=1)),
    "zero length": (Answer.INVALID_ARGUMENT, put(P, "plaintextLength", value=0)),
    "other chunk size": (Answer.INVALID_ARGUMENT, put(P, "chunkSize", value=1024)),
    "other chunk count": (Answer.INVALID_ARGUMENT, put(P, "chunkCount", value=2)),
    "nan epsilon": (Answer.INVALID_ARGUMENT, put(*G, "epsilon", value="nan")),
    "negative epsilon": (Answer.INVALID_ARGUMENT, put(*G, "epsilon", value="-1.0")),
    "zero epsilon": (Answer.INVALID_ARGUMENT, put(*G, "epsilon", value="0.0")),
    "delta of one": (Answer.INVALID_ARGUMENT, put(*G, "delta", value="1.0")),
    "other adjacency": (Answer.INVALID_ARGUMENT, put(*G, "adjacency", value="replace_one")),
    "other unit": (Answer.INVALID_ARGUMENT, put(*G, "unit", value="batch")),
    "no mechanism": (Answer.INVALID_ARGUMENT, put(*G, "mechanisms", value=[])),
    "unknown mechanism": (Answer.INVALID_ARGUMENT, put(*G, "mechanisms", 1, "kind", value="magic")),
    "no steps": (Answer.INVALID_ARGUMENT, put(*G, "mechanisms", 0, "steps", value=0)),
    "too many steps": (Answer.INVALID_ARGUMENT, put(*G, "mechanisms", 0, "steps", value=10**8)),
    "sampling over one": (Answer.INVALID_ARGUMENT, put(*G, "mechanisms", 0, "samplingRate", value="1.5")),
    "no noise": (Answer.INVALID_ARGUMENT, put(*G, "mechanisms", 0, "noiseMultiplier", value="0.0")),
    "many mechanisms": (
        Answer.INVALID_ARGUMENT,
        put(*G, "mechanisms", value=[{"kind": "laplace_counts", "epsilon": "0.1"}] * 65),
    ),
    "local time": (Answer.INVALID_ARGUMENT, put(P, "issuedAt", value="2026-01-31T12:00:00+01:00")),
    "silo with a slash at the end of time": (Answer.INVALID_ARGUMENT, put(P, "silo", value="a b")),
}


def test_round_trip(sealed: SealedFile, world: SimpleNamespace):
    statement = verify_statement(sealed.header.statement, world.silo.public)
    assert Statement.from_payload(statement.to_payload()) == statement
    assert statement.guarantee == world.guarantee
    document = json.loads(statement.to_payload())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document[P]["guarantee"]["delta"] == "1e-05"


@pytest.mark.parametrize("name", WRONG)
def test_signed_but_wrong(name: str, sealed: SealedFile, world: SimpleNamespace):
    answer, change = WRONG[name]
    document = json.loads(sealed.header.statement.payload)
    change(document)
    envelope = sign(STATEMENT_TYPE, rfc8785.dumps(document), world.silo)
    with pytest.raises(RefusedError) as caught:
        verify_statement(envelope, world.silo.public)
    assert caught.value.answer is answer


def test_signatures_come_before_the_parser(world: SimpleNamespace):
    envelope = sign(STATEMENT_TYPE, b'{"a":1,"a":1}', world.silo)
    with pytest.raises(RefusedError) as caught:
        verify_statement(replace(envelope, signatures=envelope.signatures[:1]), world.silo.public)
    assert caught.value.answer is Answer.UNAUTHENTICATED
    with pytest.raises(DocumentError):
        verify_statement(envelope, world.silo.public)


def test_size_comes_before_the_signatures(world: SimpleNamespace):
    envelope = replace(sign(STATEMENT_TYPE, b"", world.silo), payload=b" " * (STATEMENT_LIMIT + 1))
    with pytest.raises(RefusedError) as caught:
        verify_statement(envelope, world.silo.public)
    assert caught.value.answer is Answer.RESOURCE_EXHAUSTED


def test_nothing_is_sealed_that_would_be_refused(world: SimpleNamespace, tmp_path: Path):
    bad = replace(world.order, guarantee=replace(world.guarantee, epsilon=-1.0))
    with pytest.raises(DocumentError):
        seal(io.BytesIO(b"x"), tmp_path / "a", bad, signer=world.silo, recipient=world.recipient.public)
    assert list(tmp_path.iterdir()) == []
