"""Making a silo's directory, and checking that everything in it fits together.

``init_silo`` writes ``silo.toml`` last: a directory without it is no silo yet, so an interrupted start leaves
nothing that could be taken for one.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tomli_w

from llamdex_fl.errors import ConfigError, PolicyError
from llamdex_fl.experts import architectures_for
from llamdex_fl.privacy import DataSetId, Ledger
from llamdex_fl.schema import Schema, load_schema
from silo_client.config import SiloConfig, load_silo_config
from silo_client.data import read_records
from silo_client.policy import DEFAULT_PURPOSE, Policy, load_policy

__all__ = ["SiloCheck", "check_silo", "init_silo"]


_POLICY_HEADER = """\
# What may leave this silo, to whom, for what, and at what cost. No offer can ask for more than stands here.
# data_set: your name for the records; the ledger counts by it, and by the file's content.
# record_bound is public, and delta must stay below 1 / record_bound.
# release_epsilon: most that one release may cost; lifetime_epsilon: most that all together may cost, ever.
# After a change: llamdex-silo check
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiloCheck:
    """What a check found. For the silo's own people: the number of records is private."""

    silo: str
    schema: str
    schema_digest: str
    data: Path
    data_digest: str
    records: int
    entries: int
    epsilon_spent: float
    policy: Policy


def init_silo(  # noqa: PLR0913 - one value a key of the files that it writes
    home: Path,
    *,
    silo: str,
    data: Path,
    schema: Schema,
    provider: str,
    provider_address: str,
    epsilon: float = 1.0,
    delta: float = 1e-4,
    lifetime_epsilon: float = 3.0,
    record_bound: int = 1000,
    purposes: tuple[str, ...] = (DEFAULT_PURPOSE,),
) -> SiloConfig:
    """Write ``silo.toml``, ``policy.toml`` and ``schema.json`` into a silo's directory.

    Args:
        home: new or empty, or a directory that is no silo yet.
        silo: the silo's id.
        data: CSV file with the private records; it stays where it is.
        schema: what the records mean.
        provider: the provider's id in the keyring.
        provider_address: ``host:port`` of its upload service.
        epsilon: most that one release may cost.
        delta: of every guarantee; below 1 / record_bound.
        lifetime_epsilon: most that all releases together may cost, ever.
        record_bound: public: the data set never has more records than this.
        purposes: words of an offer's purpose that are allowed.

    Returns:
        The configuration, as it was read back.

    Raises:
        ConfigError: the directory is a silo's already, another file is in the way, the data file is missing, or a
            value is not usable; nothing was written then.
    """
    if (home / "silo.toml").exists():
        raise ConfigError(
            f"{home} is a silo's directory already.",
            expected="a directory without silo.toml",
            got="one with it",
            next_step="change its files by hand, or choose another directory",
        )
    if not data.is_file():
        raise ConfigError(
            f"There is no data file {data}.", expected="a CSV file", got="nothing", next_step="mend the path"
        )
    policy = {
        "version": 1,
        "data_set": f"records of {silo}",
        "schemas": [schema.digest()],
        "providers": [provider],
        "purposes": list(purposes),
        "architectures": list(architectures_for(schema)),
        "privacy": {
            "record_bound": record_bound,
            "release_epsilon": epsilon,
            "lifetime_epsilon": lifetime_epsilon,
            "delta": delta,
        },
    }
    config = {"silo": silo, "data": str(data.resolve()), "provider": provider, "provider_address": provider_address}
    texts = {
        "schema.json": json.dumps(schema.as_dict(), indent=1) + "\n",
        "policy.toml": _POLICY_HEADER + tomli_w.dumps(policy),
        "silo.toml": tomli_w.dumps(config),
    }
    _require_usable(texts)
    _require_nothing_of_others(home, texts)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in texts.items():
        _write(home / name, text)
    return load_silo_config(home)


def _require_usable(texts: Mapping[str, str]) -> None:
    """Read the files as everybody will, before the silo's directory is touched."""
    with TemporaryDirectory(prefix="llamdex-silo-") as directory:
        for name, text in texts.items():
            _write(Path(directory) / name, text)
        try:
            load_policy(Path(directory) / "policy.toml")
            load_silo_config(Path(directory))
        except ConfigError as error:
            raise ConfigError(
                "These values make no silo; nothing was written.",
                expected=error.expected,
                got=error.got,
                next_step="mend the option of llamdex-silo init",
            ) from error


def _require_nothing_of_others(home: Path, texts: Mapping[str, str]) -> None:
    """A policy that a person wrote must not be lost; one that an interrupted start left is the same text."""
    for name, text in texts.items():
        path = home / name
        if path.exists() and not (path.is_file() and path.read_bytes() == text.encode()):
            raise ConfigError(
                f"There is a file {path} already, with another content.",
                expected="a new or empty directory",
                got="a file that would be overwritten",
                next_step="move it away, make the silo, and then put back what you need of it",
            )


def check_silo(home: Path) -> SiloCheck:
    """Read everything that a training would read, and say what was found. Nothing is spent.

    Raises:
        ConfigError: a configuration file is not usable.
        SchemaError: ``schema.json`` is no schema.
        RecordError: the data file breaks the schema.
        PolicyError: the policy does not fit the schema or the data.
        LedgerError: the ledger cannot be read.
    """
    config = load_silo_config(home)
    policy = load_policy(config.policy)
    schema = load_schema(config.schema)
    if schema.digest() not in policy.schemas:
        raise PolicyError(
            "The policy does not list the schema of this silo's records.",
            expected=", ".join(policy.schemas),
            got=schema.digest(),
            next_step="put this digest into policy.toml, if the data's owner agrees to this schema",
        )
    data = read_records(config.data, schema)
    if len(data.records) > policy.record_bound:
        raise PolicyError(
            "The data file has more records than the policy's public bound.",
            expected=f"at most {policy.record_bound}",
            got="more",
            next_step="raise record_bound in policy.toml, and lower delta below 1 / record_bound",
        )
    ledger, data_set = Ledger(config.ledger), DataSetId(digest=data.digest, name=policy.data_set)
    return SiloCheck(
        silo=config.silo,
        schema=schema.name,
        schema_digest=schema.digest(),
        data=config.data,
        data_digest=data.digest,
        records=len(data.records),
        entries=len(ledger.entries(data_set)),
        epsilon_spent=ledger.spent(data_set, policy.delta),
        policy=policy,
    )


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
