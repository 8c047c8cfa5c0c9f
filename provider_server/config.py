"""The provider's configuration: one directory holds all that is the provider's.

::

    HOME/
      provider.toml     this configuration
      root.json         the consortium's root (public)
      root/             the root's private keys: move them to another machine once silos are enrolled
      keys/             the provider's private keys (0600) and its TLS certificate, the CA (provider_server.keys)
      keyring.json      who is who, signed by the root
      roots/            roots before the present one, VERSION.json, for silos that pinned one of them
      invitations/      digests of the invitations that were given out (0600)
      replies/          what each silo gets back after enrolment
      schemas/          schemas of the domains that are served, by digest
      wordings/         NAME/*.toml, for a schema called NAME whose wording does not come with the project
      registry.sqlite   rounds, uploads, releases, log
      spool/            uploads that are under way
      artefacts/        accepted experts, <sha256>.safetensors
      connectors/       the reader and the injector
"""

import re
import sys
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from llamdex_fl.base_llm.names import PACKAGED_MODEL
from llamdex_fl.errors import ConfigError

__all__ = ["SILO_ID", "Limits", "ProviderConfig", "load_provider_config"]

#: What a silo's id looks like.
SILO_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(?:\.[a-z0-9][a-z0-9-]{0,62})*")
_ADDRESS = re.compile(r"[^\s:]+:\d{1,5}|\[[0-9a-f:]+\]:\d{1,5}")
_LARGEST_PORT = (1 << 16) - 1
_KEYS = {"provider", "trust_domain", "address"}
_OPTIONAL_KEYS = {"base_llm"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the upload service grants; the table ``[limits]`` of provider.toml overrides it.

    Attributes:
        plaintext_bytes: of one expert, at most.
        sessions_per_silo: uploads that a silo may have under way.
        uploads_per_silo_and_day: uploads that a silo may begin in 24 hours.
        rpcs_per_silo: calls of one silo at a time.
        rpcs: calls of all silos at a time; more are refused.
        session_seconds: how long a challenge is good for.
        header_seconds: until the first message of a call must be there.
        chunk_seconds: between two messages of a stream.
        stream_seconds: for a whole stream.
        commit_seconds: for the checks of a commit.
        clock_skew_seconds: by how much a statement may come from the future.
        weight_rms: behaviour check: root mean square of a tensor's elements, at most.
        agreement: behaviour check: cosine to the median of at least three other silos' experts, at least.
        likeness: behaviour check: the same among eight or more, as a share of the middle one, at least.
    """

    plaintext_bytes: int = 256 << 20
    sessions_per_silo: int = 4
    uploads_per_silo_and_day: int = 64
    rpcs_per_silo: int = 4
    rpcs: int = 64
    session_seconds: float = 3600.0
    header_seconds: float = 10.0
    chunk_seconds: float = 20.0
    stream_seconds: float = 1800.0
    commit_seconds: float = 120.0
    clock_skew_seconds: float = 120.0
    weight_rms: float = 100.0
    agreement: float = -0.25
    likeness: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderConfig:
    """Where a provider keeps things, who it is, and where it listens.

    Attributes:
        home: the provider's directory.
        provider: the provider's id in the keyring.
        trust_domain: the consortium's name, in every SPIFFE id.
        address: ``host:port`` of the upload service; port 0 takes a free one.
        limits: what the upload service grants.
        base_llm: the frozen LLM: the packaged model's name, a local directory, or an id in the local model cache.
    """

    home: Path
    provider: str
    trust_domain: str
    address: str
    limits: Limits = field(default_factory=Limits)
    base_llm: str = PACKAGED_MODEL

    @property
    def root(self) -> Path:
        """The consortium's root."""
        return self.home / "root.json"

    @property
    def root_keys(self) -> Path:
        """The directory of the root's private keys."""
        return self.home / "root"

    @property
    def keys(self) -> Path:
        """The directory of the provider's private keys."""
        return self.home / "keys"

    @property
    def keyring(self) -> Path:
        """The signed keyring."""
        return self.home / "keyring.json"

    @property
    def former_roots(self) -> Path:
        """The directory of roots before the present one."""
        return self.home / "roots"

    @property
    def invitations(self) -> Path:
        """The directory of invitations, without their secrets."""
        return self.home / "invitations"

    @property
    def replies(self) -> Path:
        """The directory of answers to enrolment requests."""
        return self.home / "replies"

    @property
    def schemas(self) -> Path:
        """The directory of schemas."""
        return self.home / "schemas"

    @property
    def wordings(self) -> Path:
        """The directory of the provider's own wordings, a directory a schema."""
        return self.home / "wordings"

    @property
    def registry(self) -> Path:
        """The registry's database."""
        return self.home / "registry.sqlite"

    @property
    def spool(self) -> Path:
        """The directory of uploads under way."""
        return self.home / "spool"

    @property
    def connectors(self) -> Path:
        """The directory of the reader and the injector."""
        return self.home / "connectors"

    @property
    def artefacts(self) -> Path:
        """The directory of accepted experts."""
        return self.home / "artefacts"


def load_provider_config(home: Path) -> ProviderConfig:
    """Read ``HOME/provider.toml``.

    Raises:
        ConfigError: the file is missing, is not TOML, or has a wrong, missing or unknown key.
    """
    path = home / "provider.toml"
    document = _read(home, path)
    limits = _limits(document.pop("limits", {}), path)
    if not _KEYS <= set(document) <= _KEYS | _OPTIONAL_KEYS or not all(
        isinstance(value, str) for value in document.values()
    ):
        raise _wrong(path, "the texts " + ", ".join(sorted(_KEYS)), ", ".join(sorted(document)) or "none")
    for key, pattern in (("provider", _ID), ("trust_domain", _DOMAIN), ("address", _ADDRESS)):
        if not pattern.fullmatch(document[key]):
            raise _wrong(path, f"{key} of the form {pattern.pattern}", document[key])
    if int(document["address"].rsplit(":", 1)[1]) > _LARGEST_PORT:
        # gRPC would take it modulo 65536.
        raise _wrong(path, f"address with a port of at most {_LARGEST_PORT}", document["address"])
    return ProviderConfig(home=home.resolve(), limits=limits, **document)


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
        f"{home} is not a provider's directory.",
        expected=f"a file {path}",
        got=got,
        next_step="make one with: llamdex-provider init",
    )


def _limits(table: Any, path: Path) -> Limits:  # noqa: ANN401 - a TOML value may be anything
    known = {item.name: item.type for item in fields(Limits)}
    if not isinstance(table, dict) or not set(table) <= set(known):
        raise _wrong(path, "a table [limits] with " + ", ".join(sorted(known)), str(table))
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float if known[name] is float else int):
            raise _wrong(path, f"a number for limits.{name}", repr(value))
        # NaN is refused too, and an integer that is too large for a float.
        if not abs(value) <= sys.float_info.max or (value <= 0 and name != "agreement"):
            raise _wrong(path, f"a positive number for limits.{name}", repr(value))
    return Limits(**table)


def _wrong(path: Path, expected: str, got: str) -> ConfigError:
    return ConfigError(f"{path} is wrong.", expected=expected, got=got, next_step="mend the file")
