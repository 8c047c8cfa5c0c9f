"""The strict reader against safetensors itself, a matrix of defects, and random bytes."""

import gzip
import io
import json
import pickle  # noqa: TID251 - makes the hostile file that must be refused
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from llamdex_fl.errors import ArtefactError, WeightsError, WeightsLimitError
from llamdex_fl.weights import Limits, check_file, decode, digest, encode, load, save

SHAPES = {"bias": (2,), "layer.weight": (2, 3), "scale": ()}


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in SHAPES.items()}


def file_of(header: object, data: bytes = b"", pad: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 if pad is None else pad)
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_same_bytes_as_the_safetensors_library():
    assert encode(tensors()) == safetensors.numpy.save(tensors())


def test_round_trip_and_determinism(tmp_path: Path):
    shuffled = dict(reversed(tensors().items()))
    assert encode(shuffled) == encode(tensors())
    save(tmp_path / "a.safetensors", tensors())
    check_file(tmp_path / "a.safetensors", SHAPES)
    read = load(tmp_path / "a.safetensors", SHAPES)
    for name, array in tensors().items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].flags.writeable
    assert digest(encode(tensors())) == digest((tmp_path / "a.safetensors").read_bytes())
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5})?", fullmatch=True),
        st.lists(st.integers(1, 4), max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_any_shapes_round_trip(shapes: dict[str, list[int]]):
    made = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    read = decode(encode(made), shapes)
    assert {name: array.shape for name, array in read.items()} == {name: tuple(s) for name, s in shapes.items()}


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_typed(data: bytes):
    with pytest.raises(WeightsError):
        decode(data)


@given(st.data())
def test_a_flipped_header_bit_is_refused_or_another_valid_file(data: st.DataObject):
    good = encode(tensors())
    header_end = 8 + int.from_bytes(good[:8], "little")
    place = data.draw(st.integers(0, header_end - 1))
    bad = bytearray(good)
    bad[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WeightsError):
        decode(bytes(bad), SHAPES)


DEFECTS = {
    "empty": b"",
    "short": b"\0\0\0",
    "header past the end": (100).to_bytes(8, "little") + b"{}",
    "not json": file_of(b"{nonsense"),
    "list": file_of(b"[]      "),
    "no tensors": file_of({}),
    "deep nesting": file_of(b'{"a":' + b"[" * 60000 + b"]" * 60000 + b"}"),
    "duplicate tensor": file_of(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"\0" * 4,
    ),
    "duplicate inner key": file_of(b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
    "long name": file_of({"a" * 500: entry([1], 0, 4)}, b"\0" * 4),
    "many dimensions": file_of({"a": entry([1] * 40, 0, 4)}, b"\0" * 4),
    "float64": file_of({"a": entry([1], 0, 8, "F64")}, b"\0" * 8),
    "zero dimension": file_of({"a": entry([0, 1 << 60], 0, 0)}),
    "negative dimension": file_of({"a": entry([-1, -1], 0, 4)}, b"\0" * 4),
    "shape overflow": file_of({"a": entry([1 << 40, 1 << 40], 0, 4)}, b"\0" * 4),
    "boolean dimension": file_of(b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', b"\0" * 4),
    "float offset": file_of(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4.0]}}', b"\0" * 4),
    "NaN in header": file_of(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"\0" * 4),
    "path as name": file_of({"../../etc/passwd": entry([1], 0, 4)}, b"\0" * 4),
    "unicode name": file_of('{"é":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.encode(), b"\0" * 4),
    "unknown key": file_of({"a": {**entry([1], 0, 4), "extra": 1}}, b"\0" * 4),
    "overlap": file_of({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"\0" * 4),
    "hole": file_of({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, b"\0" * 12),
    "unsorted": file_of({"b": entry([1], 0, 4), "a": entry([1], 4, 8)}, b"\0" * 8),
    "trailing bytes": file_of({"a": entry([1], 0, 4)}, b"\0" * 5),
    "missing bytes": file_of({"a": entry([1], 0, 4)}, b"\0" * 3),
    "space inside": file_of(b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
    "pickle": pickle.dumps({"a": 1}) * 10,
    "nan": file_of({"a": entry([1], 0, 4)}, np.array([np.nan], np.float32).tobytes()),
    "infinity": file_of({"a": entry([1], 0, 4)}, np.array([-np.inf], np.float32).tobytes()),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_is_refused(defect: str):
    with pytest.raises(WeightsError):
        decode(DEFECTS[defect])


LIMITS = {
    "header over the cap": file_of(b"{" + b" " * 20_000_000),
    "padding": file_of({"a": entry([1], 0, 4)}, b"\0" * 4, pad=800),
    "many tensors": file_of({f"t{i}": entry([1], 4 * i, 4 * i + 4) for i in range(3000)}, b"\0" * 12000),
    "metadata": file_of({"__metadata__": {"k": "v"}, "a": entry([1], 0, 4)}, b"\0" * 4),
    "enormous length": b"\xff" * 8 + b"{}",
    "length over the cap, nothing behind it": (1 << 40).to_bytes(8, "little") + b"\0" * 100,
}


@pytest.mark.parametrize("defect", LIMITS)
def test_over_a_limit_is_refused_fast(defect: str):
    start = time.process_time()
    with pytest.raises(WeightsLimitError):
        decode(LIMITS[defect])
    assert time.process_time() - start < 0.1


#: Headers within the cap that cost a JSON parser most.
COSTLY = {
    "objects": file_of(b'{"a":[' + b"{}," * 87_000 + b"{}]}"),
    "pairs": file_of(b'{"a":[' + b'{"":0},' * 37_000 + b"{}]}"),
    "keys": file_of(b"{" + b",".join(b'"%x":0' % number for number in range(26_000)) + b"}"),
    "a long number": file_of(b'{"a":' + b"9" * 262_000 + b"}"),
    "tensors": file_of({f"t{i}": entry([1], 4 * i, 4 * i + 4) for i in range(1024)}),
}


@pytest.mark.parametrize(
    "head",
    [
        # A header that begins as one, whatever its length field spells; and one that lies inside the file.
        b"        {" + b" " * 100,
        b"\x80\x02" + bytes(6) + b"x" * 0x0280,
    ],
)
def test_a_header_that_is_only_too_long_is_not_taken_for_another_format(head: bytes):
    with pytest.raises(WeightsLimitError):
        decode(head, limits=Limits(header_bytes=16))


def test_another_format_is_told_by_its_beginning():
    for head in (b"\x80\x02" + bytes(6) + b"x" * 0x027F, b"text, and no header", b"        [" + b" " * 100):
        with pytest.raises(WeightsError) as caught:
            decode(head, limits=Limits(header_bytes=16))
        assert not isinstance(caught.value, WeightsLimitError)


@pytest.mark.parametrize("defect", [*COSTLY, *LIMITS])
def test_what_a_header_may_cost(defect: str):
    hostile = {**COSTLY, **LIMITS}[defect]
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            decode(hostile)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    start = time.process_time()
    with pytest.raises(WeightsError):
        decode(hostile)
    assert time.process_time() - start < 0.1


def _archive(*names: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return archive.getvalue()


FOREIGN = {
    **{f"pickle {protocol}": pickle.dumps({"weight": [1.0] * 99}, protocol) for protocol in range(6)},
    ".pt": _archive("archive/data.pkl", "archive/data/0"),
    "empty zip": _archive(),
    "old .pt": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2),
    "gzip": gzip.compress(b"x" * 99),
    "npy": b"\x93NUMPY\x01\x00" + b"v\x00{'descr'",
    "text": b"these are no weights",
    "json": b'{"weight": [1.0, 2.0]}',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_format_is_not_a_file_over_the_limit(name: str):
    with pytest.raises(WeightsError) as caught:
        decode(FOREIGN[name])
    assert not isinstance(caught.value, WeightsLimitError)


def test_file_over_the_cap():
    with pytest.raises(WeightsLimitError):
        decode(encode(tensors()), limits=Limits(file_bytes=40))


@pytest.mark.parametrize(
    "expected",
    [{"bias": (2,)}, {**SHAPES, "more": (1,)}, {**SHAPES, "bias": (1, 2)}, {**SHAPES, "bias": (3,)}],
)
def test_other_tensors_than_expected(expected: dict[str, tuple[int, ...]]):
    with pytest.raises(WeightsError):
        decode(encode(tensors()), expected)


def test_encode_refuses_what_decode_would():
    for bad in (np.ones(2), np.array([np.nan], np.float32), np.zeros((0,), np.float32)):
        with pytest.raises(WeightsError):
            encode({"a": bad})
    with pytest.raises(WeightsError):
        encode({"a b": np.ones(1, np.float32)})


def test_missing_and_empty_file(tmp_path: Path):
    with pytest.raises(ArtefactError):
        load(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(WeightsError):
        load(tmp_path / "empty")


def test_refusal_from_a_file_keeps_its_type(tmp_path: Path):
    path = tmp_path / "nan.safetensors"
    path.write_bytes(DEFECTS["nan"])
    with pytest.raises(WeightsError, match="finite"):
        check_file(path, {"a": (1,)})
