"""DSSE: the encoding against another library, and what must not verify."""

import json
from dataclasses import replace

import pytest
import securesystemslib.dsse

from llamdex_fl.envelope import Answer, RefusedError, SignedEnvelope, SigningKey, sign
from llamdex_fl.envelope.refusal import DocumentError

TYPE = "application/test"


def test_pae_is_that_of_another_library():
    ours = SignedEnvelope("tÿpe", b"pay\0load", ())
    assert ours.pae() == securesystemslib.dsse.Envelope(b"pay\0load", "tÿpe", {}).pae()
    assert SignedEnvelope("http://example.com/HelloWorld", b"hello world", ()).pae() == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"  # the specification's own example
    )


def test_round_trip_through_json():
    key = SigningKey.generate()
    envelope = sign(TYPE, b"payload", key)
    read = SignedEnvelope.from_json(envelope.to_json())
    assert read == envelope
    assert read.verified(TYPE, key.public) == b"payload"
    assert set(json.loads(envelope.to_json())) == {"payload", "payloadType", "signatures"}


def test_what_does_not_verify():
    key, other = SigningKey.generate(), SigningKey.generate()
    envelope = sign(TYPE, b"payload", key)
    for bad in (
        replace(envelope, payload=b"Payload"),
        replace(envelope, signatures=envelope.signatures[:1]),
        replace(envelope, signatures=envelope.signatures[1:]),
        replace(envelope, signatures=()),
        replace(envelope, signatures=(*envelope.signatures, *sign(TYPE, b"payload", other).signatures)),
        sign(TYPE, b"payload", other),
    ):
        with pytest.raises(RefusedError) as caught:
            bad.verified(TYPE, key.public)
        assert caught.value.answer is Answer.UNAUTHENTICATED
    with pytest.raises(RefusedError) as caught:
        envelope.verified("application/other", key.public)
    assert caught.value.answer is Answer.FAILED_PRECONDITION
    # The type is signed too.
    with pytest.raises(RefusedError):
        replace(envelope, payload_type="application/other").verified("application/other", key.public)


def test_threshold():
    keys = [SigningKey.generate() for _ in range(3)]
    publics = [key.public for key in keys]
    two = sign(TYPE, b"payload", keys[0], keys[2])
    assert two.verified_by(TYPE, publics, 2) == b"payload"
    for envelope, threshold in (
        (two, 3),
        (two, 0),
        (sign(TYPE, b"payload", keys[0], SigningKey.generate()), 2),
        (sign(TYPE, b"payload", keys[0], keys[0]), 2),
        (replace(two, signatures=two.signatures[:3]), 2),
    ):
        with pytest.raises(RefusedError):
            envelope.verified_by(TYPE, publics, threshold)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "[]",
        "{}",
        '{"payload":"!","payloadType":"t","signatures":[]}',
        '{"payload":"","payloadType":"t","signatures":[{"keyid":"k"}]}',
        '{"payload":"","payloadType":"t","signatures":[],"more":1}',
        '{"payload":"","payloadType":1,"signatures":[]}',
        '{"payload":"","payloadType":"t","signatures":' + "[" * 20000 + "]" * 20000 + "}",
    ],
)
def test_malformed(text: str):
    with pytest.raises(DocumentError):
        SignedEnvelope.from_json(text)
