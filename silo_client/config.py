"""A silo's own configuration: one directory on the silo's disk holds all that is the silo's.

::

    HOME/
      silo.toml        this configuration
      policy.toml      what may leave, to whom, at what cost (silo_client.policy)
      schema.json      the schema that the data file follows
      keys/            private keys (0600) and the certificate
      keyring.json     who is who, signed by the consortium's root
      ledger.sqlite    DP events that were spent
      spool/           sealed envelopes on their way out
      receipts/, sent/ what the provider confirmed, and what has left (sizes and statements, no weights)
      silo.sock        the daemon's local socket (0600)
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ConfigError

__all__ = ["SiloConfig", "load_silo_config"]

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ADDRESS = re.compile(r"(?:[^\s:\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")
_PORTS = range(1, 1 << 16)
_KEYS = {"silo", "data", "provider", "provider_address"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiloConfig:
    """Where a silo keeps things and whom it talks to.

    Attributes:
        home: the silo's directory.
        silo: the silo's id, lower-case letters, digits and hyphens.
        data: CSV file with the private records.
        provider: the provider's id in the keyring.
        provider_address: ``host:port`` of the provider's upload service.
    """

    home: Path
    silo: str
    data: Path
    provider: str
    provider_address: str

    @property
    def policy(self) -> Path:
        """The policy file."""
        return self.home / "policy.toml"

    @property
    def schema(self) -> Path:
        """The schema file."""
        return self.home / "schema.json"

    @property
    def keys(self) -> Path:
        """The directory of private keys."""
        return self.home / "keys"

    @property
    def keyring(self) -> Path:
        """The signed keyring."""
        return self.home / "keyring.json"

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.home / "ledger.sqlite"

    @property
    def spool(self) -> Path:
        """The directory of sealed envelopes."""
        return self.home / "spool"

    @property
    def socket(self) -> Path:
        """The daemon's local socket."""
        return self.home / "silo.sock"


def load_silo_config(home: Path) -> SiloConfig:
    """Read ``HOME/silo.toml``.

    Raises:
        ConfigError: the file is missing, is not TOML, or has a wrong, missing or unknown key.
    """
    path = home / "silo.toml"
    document = _read(home, path)
    if set(document) != _KEYS or not all(isinstance(value, str) and value for value in document.values()):
        raise ConfigError(
            f"{path} does not have the right keys.",
            expected="the texts " + ", ".join(sorted(_KEYS)),
            got=", ".join(sorted(document)) or "none",
            next_step="mend the file",
        )
    for key in ("silo", "provider"):
        if not _ID.fullmatch(document[key]):
            raise _wrong(path, key, "lower-case letters, digits and hyphens, at most 63", document[key])
    address = _ADDRESS.fullmatch(document["provider_address"])
    if address is None or int(address[1]) not in _PORTS:
        expected = "HOST:PORT, an IPv6 address in brackets"
        raise _wrong(path, "provider_address", expected, document["provider_address"])
    return SiloConfig(
        home=home.resolve(),
        silo=document["silo"],
        data=(home / document["data"]).resolve(),
        provider=document["provider"],
        provider_address=document["provider_address"],
    )


def _read(home: Path, path: Path) -> dict[str, Any]:
    try:
        if path.is_file():
            return tomllib.loads(path.read_text(encoding="utf-8"))
        got = "nothing"
    except OSError as error:
        got = error.strerror or type(error).__name__
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML.", expected="TOML", got=str(error), next_step="mend the file") from error
    raise ConfigError(
        f"{home} is not a silo's directory.",
        expected=f"a file {path}",
        got=got,
        next_step="make one with: llamdex-silo init",
    )


def _wrong(path: Path, key: str, expected: str, got: str) -> ConfigError:
    return ConfigError(
        f"{path}: the key {key} is wrong.", expected=expected, got=got[:200], next_step=f"mend the key {key}"
    )
