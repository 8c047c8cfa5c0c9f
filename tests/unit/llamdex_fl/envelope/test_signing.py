"""Hybrid signatures: both halves or nothing; small-order keys derived from the curve's equation."""

import pytest

from llamdex_fl.envelope import Answer, RefusedError, Signature, SigningKey, VerifyKey

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(one: Point, two: Point) -> Point:
    """The addition law of edwards25519 (RFC 8032, section 5.1.4), in affine coordinates."""
    (x1, y1), (x2, y2) = one, two
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def point(y: int) -> Point | None:
    """A point of this y coordinate, if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


def small_order_points() -> set[Point]:
    """The eight points of the torsion subgroup: L times any point, for points of all cosets."""
    order = 2**252 + 27742317777372353535851937790883648493
    found: set[Point] = set()
    for y in range(2, 60):
        start = point(y)
        if start is None:
            continue
        total, double, left = (0, 1), start, order
        while left:
            if left & 1:
                total = add(total, double)
            double, left = add(double, double), left >> 1
        found.add(total)
    for one in list(found):
        for two in list(found):
            found.add(add(one, two))
    return found


def test_small_order_keys_are_refused():
    mldsa = SigningKey.generate().public.mldsa65
    points = small_order_points()
    assert len(points) == 8
    for _x, y in points:
        for sign in (0, 1):
            with pytest.raises(RefusedError) as caught:
                VerifyKey((y | sign << 255).to_bytes(32, "little"), mldsa)
            assert caught.value.answer is Answer.UNAUTHENTICATED


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1])
def test_keys_that_are_not_canonical_are_refused(y: int):
    with pytest.raises(RefusedError):
        VerifyKey(y.to_bytes(32, "little"), SigningKey.generate().public.mldsa65)


def test_sizes():
    public = SigningKey.generate().public
    for ed25519, mldsa65 in ((public.ed25519[:-1], public.mldsa65), (public.ed25519, public.mldsa65 + b"\0")):
        with pytest.raises(RefusedError):
            VerifyKey(ed25519, mldsa65)


def test_both_signatures_are_needed():
    key, other = SigningKey.generate(), SigningKey.generate()
    one, two = key.sign(b"message")
    key.public.verify(b"message", (one, two))
    key.public.verify(b"message", (two, one))
    flipped_one = Signature(one.keyid, bytes([one.sig[0] ^ 1]) + one.sig[1:])
    flipped_two = Signature(two.keyid, bytes([two.sig[0] ^ 1]) + two.sig[1:])
    foreign_one, foreign_two = other.sign(b"message")
    for bad in (
        (),
        (one,),
        (two,),
        (one, one),
        (one, one, two),
        (flipped_one, two),
        (one, flipped_two),
        (foreign_one, two),
        (one, foreign_two),
        (Signature(one.keyid, foreign_one.sig), two),
        (one, Signature(two.keyid, foreign_two.sig)),
        (Signature(one.keyid, b""), two),
    ):
        with pytest.raises(RefusedError) as caught:
            key.public.verify(b"message", bad)
        assert caught.value.answer is Answer.UNAUTHENTICATED
    with pytest.raises(RefusedError):
        key.public.verify(b"another", (one, two))


def test_no_secret_in_a_repr():
    key = SigningKey.generate()
    assert repr(key) == f"SigningKey({key.public.keyid})"
