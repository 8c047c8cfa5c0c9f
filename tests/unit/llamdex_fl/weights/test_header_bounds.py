"""Each limit of a header from both sides."""

import pytest

from llamdex_fl.errors import WeightsError, WeightsLimitError
from llamdex_fl.weights.header import Limits, head_bytes, header_bytes, parse_header


def parse(shapes: dict[str, tuple[int, ...]], limits: Limits) -> list[str]:
    head = header_bytes(shapes)
    elements = [1 if not shape else shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes.values()]
    return [place.name for place in parse_header(head, len(head) + 4 * sum(elements), limits)]


def test_tensors():
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys("abc", (1,))
    assert parse(shapes, Limits(tensors=3)) == ["a", "b", "c"]
    with pytest.raises(WeightsLimitError):
        parse(shapes, Limits(tensors=2))


def test_names():
    assert parse({"abcd": (1,)}, Limits(name_characters=4)) == ["abcd"]
    with pytest.raises(WeightsError, match="3 characters"):
        parse({"abcd": (1,)}, Limits(name_characters=3))


def test_dimensions():
    assert parse({"a": (1, 1)}, Limits(dimensions=2)) == ["a"]
    with pytest.raises(WeightsError, match="1 dimensions"):
        parse({"a": (1, 1)}, Limits(dimensions=1))


def test_header_and_file():
    head = header_bytes({"a": (2,)})
    size = len(head) + 8
    (place,) = parse_header(head, size, Limits(header_bytes=len(head) - 8, file_bytes=size))
    assert (place.name, place.shape, place.start, place.stop) == ("a", (2,), len(head), size)
    with pytest.raises(WeightsLimitError):
        parse_header(head, size, Limits(header_bytes=len(head) - 9, file_bytes=size))
    with pytest.raises(WeightsLimitError):
        parse_header(head, size, Limits(file_bytes=size - 1))
    for wrong in (size - 1, size + 1, 7, 0, len(head) - 1):
        with pytest.raises(WeightsError):
            parse_header(head, wrong, Limits())
    with pytest.raises(WeightsError):
        parse_header(head[:-1], size, Limits())


def test_a_shape_within_the_file():
    head = header_bytes({"a": (25,)})
    assert parse_header(head, len(head) + 100, Limits(file_bytes=len(head) + 100))
    with pytest.raises(WeightsError, match="99 bytes"):
        parse_header(head, len(head), Limits(file_bytes=99))


def test_padding():
    for name in ("a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"):
        head = header_bytes({name: (1,)})
        assert len(head) % 8 == 0
        assert parse({name: (1,)}, Limits()) == [name]
        text = head[8:].rstrip(b" ") + b" " * 8
        with pytest.raises(WeightsLimitError):
            parse_header(len(text).to_bytes(8, "little") + text, 8 + len(text) + 4, Limits())


def test_scalars_and_empty_headers():
    assert parse({"a": ()}, Limits()) == ["a"]
    for text in (b"{}      ", b"[]      ", b"null    ", b'{"a":1} '):
        with pytest.raises(WeightsError):
            parse_header(len(text).to_bytes(8, "little") + text, 16, Limits())


def test_defaults():
    limits = Limits()
    assert head_bytes(limits) == 8 + (1 << 18)
    assert (limits.tensors, limits.name_characters, limits.dimensions, limits.file_bytes) == (1024, 128, 8, 1 << 30)
