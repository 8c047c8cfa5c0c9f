"""The demo's consortium on disk: founded once in a directory, found again by the next run, never overwritten.

Silos' ledgers lie in it. A consortium that was replaced would give its silos a budget that they have spent, so only one
whose founding was cut off is: it has spent nothing.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ConfigError
from llamdex_fl.experts import THERMOMETER_LINEAR
from llamdex_fl.schema import Schema
from simulations.datasets import Split, write_silo_csv
from simulations.local_consortium import Founded, PrivacyTerms, add_silo, found_consortium
from simulations.local_consortium.lock import take_lock

__all__ = ["Domain", "claimed", "found", "write_json"]

_STATE, _LOCK = "demo.json", ".lock"
_DIRECTORIES = ("provider", "silos", "work")


@dataclass(frozen=True, slots=True)
class Domain:
    """A schema, the records of each silo that has them, what its silos' policies say, and what they are offered."""

    schema: Schema
    splits: Mapping[str, Split]
    terms: PrivacyTerms = field(default_factory=PrivacyTerms)
    architecture: str = THERMOMETER_LINEAR


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other runs out of a directory, which is made.

    Raises:
        PortInUseError: another run uses it now.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = take_lock(out / _LOCK)
    try:
        yield
    finally:
        os.close(descriptor)


def found(out: Path, domains: Sequence[Domain]) -> Founded:
    """The consortium of an earlier run with the same records, or a new one.

    Args:
        out: where it lives; ``claimed``.
        domains: the provider's first schema with its silos, then what else joins; no silo twice.

    Raises:
        ConfigError: the directory holds something that is not this consortium.
    """
    drafts = {silo: (domain, own) for domain in domains for silo, own in domain.splits.items()}
    contents = _contents(drafts)
    key = hashlib.sha256(b"".join(contents.values())).hexdigest()
    kept = _state(out)
    if kept is None and (there := [name for name in _DIRECTORIES if (out / name).exists()]):
        raise _not_ours(out, f"directories that it did not make: {', '.join(there)}")
    if kept is not None and kept.get("key") != key:
        raise _not_ours(out, "the consortium of another seed, or of other data")
    if kept is not None and "provider_home" in kept:
        return Founded(
            provider_home=Path(kept["provider_home"]),
            silo_homes={silo: Path(home) for silo, home in kept["silo_homes"].items()},
            provider=kept["provider"],
            root_fingerprint=kept["root_fingerprint"],
        )
    # Ours, and cut off before it was founded: nothing was spent or released from it.
    for name in _DIRECTORIES:
        shutil.rmtree(out / name, ignore_errors=True)
    write_json(out / _STATE, {"key": key})
    (out / "data").mkdir(exist_ok=True)
    files = {silo: out / "data" / f"{silo}.csv" for silo in drafts}
    for silo, path in files.items():
        path.write_bytes(contents[silo])
    first, *others = domains
    terms = dict.fromkeys(first.splits, first.terms)
    founded = found_consortium(out, first.schema, {silo: files[silo] for silo in first.splits}, terms=terms)
    for domain in others:
        for silo in domain.splits:
            founded = add_silo(founded, out, domain.schema, silo, files[silo], domain.terms)
    write_json(
        out / _STATE,
        {
            "key": key,
            "provider_home": str(founded.provider_home),
            "silo_homes": {silo: str(home) for silo, home in founded.silo_homes.items()},
            "provider": founded.provider,
            "root_fingerprint": founded.root_fingerprint,
        },
    )
    return founded


def _contents(drafts: Mapping[str, tuple[Domain, Split]]) -> dict[str, bytes]:
    """Each silo's file."""
    with tempfile.TemporaryDirectory(prefix="llamdex-demo-") as directory:
        path = Path(directory) / "records.csv"
        contents = {}
        for silo, (domain, own) in drafts.items():
            write_silo_csv(path, domain.schema, own.train)
            contents[silo] = path.read_bytes()
    return contents


def _state(out: Path) -> dict[str, Any] | None:
    path = out / _STATE
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise _not_ours(out, f"a file {_STATE} that is damaged")
    return kept


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)


def _not_ours(out: Path, got: str) -> ConfigError:
    return ConfigError(
        f"The demo would overwrite what is in {out}.",
        expected="an empty directory, or the consortium of an earlier run with the same seed",
        got=got,
        next_step="name another directory with --out, or remove this one: its silos' keys and ledgers go with it",
    )
