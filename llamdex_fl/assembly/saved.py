"""An assembly as a folder of safetensors and JSON, whole or not at all; nothing in it is ever unpickled.

::

    config.json                    format, base LLM, schemas, seats, and the digest of every other file
    reader/, injector/             the connectors
    experts/NNN.safetensors        the released tensors of each seat
    tokenizer.json, ...            the base LLM's tokenizer and generation settings
    base/                          the base LLM, if it was to go along

Digests find damage, not forgery: whoever can change a file can change ``config.json`` too.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

from llamdex_fl import weights
from llamdex_fl.assembly.seats import Seat
from llamdex_fl.base_llm.base import BaseLLM, base_llm_digest, load_base_llm
from llamdex_fl.base_llm.quiet import quiet_loading
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.connectors.texts import load_reader
from llamdex_fl.errors import ArtefactError, ConfigError
from llamdex_fl.experts import Expert, tensor_shapes
from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian
from llamdex_fl.schema import Schema

if TYPE_CHECKING:
    from llamdex_fl.assembly.transformers_side import TransformersSide

__all__ = ["Parts", "load_parts", "save_assembly"]

_FORMAT = 1
_MODEL_TYPE = "llamdex"
_CONFIG = "config.json"
_READER, _INJECTOR, _EXPERTS, _BASE = "reader", "injector", "experts", "base"
#: What is set on a speaker, with its type.
_SPEAKER: Mapping[str, type[float]] = {"corrections": int, "tolerance": float}
_MECHANISMS: Mapping[str, Any] = {"sampled_gaussian": SampledGaussian, "laplace_counts": LaplaceCounts}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What an assembly is put together from; a seat's expert names its schema, ``speaker`` holds what is set on it."""

    base: BaseLLM
    reader: Reader
    injector: Injector
    seats: Sequence[Seat]
    speaker: Mapping[str, float]


def save_assembly(assembly: "TransformersSide", folder: Path, *, include_base: bool) -> None:
    """Write a folder beside, then rename it; see ``AssembledLlamdex.save_pretrained``."""
    _require_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        scratch.chmod(0o777 & ~_umask())
        _write(assembly, scratch, include_base=include_base)
        old = scratch.with_name(f"{scratch.name}-old")
        if folder.exists():
            folder.rename(old)
        scratch.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def load_parts(folder: Path, *, base: BaseLLM | str | None, dtype: torch.dtype | None) -> Parts:
    """Read what ``save_assembly`` wrote; see ``AssembledLlamdex.from_pretrained``."""
    document = _document(folder)
    try:
        for name, digest in document["files"].items():
            _check_file(folder, name, digest)
        loaded = _base(folder, document["base_llm"], base, dtype)
        reader = load_reader(folder / _READER)
        digests = {name: schema.digest() for name, schema in reader.schemas.items()}
        if digests != document["schemas"]:
            raise _wrong(folder, "the schemas that config.json names", "others")
        injector = Injector.load(folder / _INJECTOR, base_digest=loaded.digest).to(loaded.model.device)
        seats = [_seat(folder, entry, reader.schemas) for entry in document["seats"]]
        speaker = {name: kind(document["speaker"][name]) for name, kind in _SPEAKER.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ArtefactError):
            raise
        raise _wrong(folder, "the fields of a saved assembly in config.json", type(error).__name__) from error
    return Parts(base=loaded, reader=reader, injector=injector, seats=seats, speaker=speaker)


def _write(assembly: "TransformersSide", folder: Path, *, include_base: bool) -> None:
    # Imported here because it needs this module itself.
    from llamdex_fl.assembly.causal_lm import LlamdexConfig  # noqa: PLC0415

    base = assembly.base
    entry: dict[str, Any] = {
        "name": base.name,
        "digest": base.digest,
        "dtype": str(base.model.dtype).removeprefix("torch."),
        "included": include_base,
    }
    with quiet_loading():
        base.tokenizer.save_pretrained(folder)
        base.model.generation_config.save_pretrained(folder)
        if include_base:
            base.model.save_pretrained(folder / _BASE)
            base.tokenizer.save_pretrained(folder / _BASE)
            entry["saved_digest"] = base_llm_digest(str(folder / _BASE))
    assembly.reader.save(folder / _READER)
    assembly.injector.save(folder / _INJECTOR)
    (folder / _EXPERTS).mkdir()
    seats: list[dict[str, Any]] = []
    for schema in assembly.schemas:
        for seat in assembly.seats(schema):
            tensors = f"{_EXPERTS}/{len(seats):03}.safetensors"
            weights.save(folder / tensors, seat.expert.as_tensors())
            seats.append(_seat_entry(schema, seat, tensors))
    config = LlamdexConfig.of(
        base.model,
        format=_FORMAT,
        base_llm=entry,
        schemas={name: schema.digest() for name, schema in assembly.reader.schemas.items()},
        seats=seats,
        speaker={name: getattr(assembly.speaker, name) for name in _SPEAKER},
        files=_digests(folder),
    )
    config.save_pretrained(folder)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 by path of every file but the base LLM's weights, which have their own digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in files
        if not (path.parent.name == _BASE and (path.suffix == ".safetensors" or path.name == "llamdex-digest.json"))
    }


def _seat_entry(schema: str, seat: Seat, tensors: str) -> dict[str, Any]:
    return {
        "schema": schema,
        "silo": seat.silo,
        "architecture": seat.expert.architecture,
        "tensors": tensors,
        "guarantee": asdict(seat.guarantee),
    }


def _seat(folder: Path, entry: Mapping[str, Any], schemas: Mapping[str, Schema]) -> Seat:
    schema, architecture = schemas[entry["schema"]], str(entry["architecture"])
    promised = dict(entry["guarantee"])
    mechanisms = tuple(_MECHANISMS[own["kind"]](**own) for own in promised.pop("mechanisms"))
    tensors = weights.load(_inside(folder, entry["tensors"]), tensor_shapes(architecture, schema))
    return Seat(
        str(entry["silo"]),
        Expert.from_tensors(schema, tensors, architecture),
        Guarantee(mechanisms=mechanisms, **promised),
    )


def _base(folder: Path, entry: Mapping[str, Any], given: BaseLLM | str | None, dtype: torch.dtype | None) -> BaseLLM:
    """The base LLM that the connectors are for."""
    if isinstance(given, BaseLLM):
        found = given
    else:
        wanted = dtype if dtype is not None else getattr(torch, str(entry["dtype"]))
        if given is None and entry["included"]:
            own = load_base_llm(str(folder / _BASE), dtype=wanted)
            if own.digest != entry["saved_digest"]:
                raise _wrong(folder, f"weights of digest {str(entry['saved_digest'])[:12]} in {_BASE}", own.digest[:12])
            return BaseLLM(own.model, own.tokenizer, name=str(entry["name"]), digest=str(entry["digest"]))
        found = load_base_llm(given if given is not None else str(entry["name"]), dtype=wanted)
    if found.digest != entry["digest"]:
        raise ArtefactError(
            f"The assembly in {folder} is for another base LLM.",
            expected=f"{entry['name']}, digest {str(entry['digest'])[:12]}",
            got=f"{found.name}, digest {found.digest[:12]}",
            next_step="give the base LLM that it was saved with, or save it with include_base=True",
        )
    return found


def _document(folder: Path) -> dict[str, Any]:
    try:
        document: Any = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(folder, f"{_CONFIG} of a saved assembly", type(error).__name__) from error
    if not isinstance(document, dict) or document.get("model_type") != _MODEL_TYPE:
        raise _wrong(folder, f'{_CONFIG} with the model type "{_MODEL_TYPE}"', "another one")
    if document.get("format") != _FORMAT:
        raise ArtefactError(
            f"The assembly in {folder} is of another version.",
            expected=f"format {_FORMAT}",
            got=repr(document.get("format"))[:80],
            next_step="load it with the version that saved it, or save it again with this one",
        )
    return document


def _check_file(folder: Path, name: str, digest: str) -> None:
    path = _inside(folder, name)
    if not path.is_file():
        raise _wrong(folder, name, "no such file")
    if _sha256(path) != digest:
        raise _wrong(folder, f"{name} as it was saved", "a file with another digest")


def _inside(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise _wrong(folder, "names of files inside it", "another place")
    return folder.joinpath(*parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_replaceable(folder: Path) -> None:
    """What is replaced must be an older assembly: the path may have been mistyped."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        got = "a file or a link"
    elif not folder.exists() or not any(folder.iterdir()):
        return
    else:
        try:
            _document(folder)
        except ArtefactError:
            got = "a directory with other files"
        else:
            return
    raise ConfigError(
        f"{folder} cannot be written.",
        expected="a new or empty directory, or an older assembly of this version",
        got=got,
        next_step="name another directory; nothing was removed",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _wrong(folder: Path, expected: str, got: str) -> ArtefactError:
    return ArtefactError(
        f"{folder} does not hold a whole saved assembly.",
        expected=expected,
        got=got,
        next_step="save it again, or copy the whole folder",
    )
