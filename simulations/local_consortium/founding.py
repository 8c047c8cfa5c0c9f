"""Founds a consortium in a directory: what people do once on several machines, done on one.

::

    DIRECTORY/
      provider/        the provider's home
      silos/<id>/      each silo's home
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llamdex_fl.schema import Schema
from provider_server.config import load_provider_config
from provider_server.setup import add_schema, enrol, init_provider
from silo_client.enrolment import join, make_keys
from silo_client.setup import init_silo
from simulations.local_consortium.supervisor import free_port

__all__ = ["Founded", "PrivacyTerms", "add_silo", "found_consortium"]

_HOST = "127.0.0.1"
_PROVIDER = "provider"
_TRUST_DOMAIN = "demo.llamdex.example"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyTerms:
    """What a silo's policy will say.

    Attributes:
        epsilon: most that one release may cost.
        delta: of every guarantee.
        lifetime_epsilon: most that all releases together may cost.
        record_bound: public: a silo never has more records than this.
    """

    epsilon: float = 1.0
    delta: float = 1e-4
    lifetime_epsilon: float = 3.0
    record_bound: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Founded:
    """The homes, and the root's fingerprint that the silos compared."""

    provider_home: Path
    silo_homes: Mapping[str, Path]
    provider: str
    root_fingerprint: str


def found_consortium(
    directory: Path,
    schema: Schema,
    data: Mapping[str, Path],
    *,
    terms: Mapping[str, PrivacyTerms] | None = None,
    port: int | None = None,
) -> Founded:
    """Make a provider, and a silo for each entry of ``data``, all enrolled.

    Args:
        directory: new or empty.
        schema: of the domain.
        data: silo id -> CSV file with its private records.
        terms: silo id -> its policy's numbers; the defaults where there is none.
        port: of the provider's upload service on loopback; a free one if None.

    Raises:
        PortInUseError: the port is taken.
        ConfigError: the directory is in use, or a file is not usable.
    """
    provider_home = directory / "provider"
    address = f"{_HOST}:{free_port(_HOST, port)}"
    fingerprint = init_provider(provider_home, provider=_PROVIDER, trust_domain=_TRUST_DOMAIN, address=address)
    founded = Founded(provider_home=provider_home, silo_homes={}, provider=_PROVIDER, root_fingerprint=fingerprint)
    for silo, path in data.items():
        founded = add_silo(founded, directory, schema, silo, path, (terms or {}).get(silo))
    return founded


def add_silo(  # noqa: PLR0913, PLR0917 - what found_consortium knows of one silo
    founded: Founded, directory: Path, schema: Schema, silo: str, data: Path, terms: PrivacyTerms | None = None
) -> Founded:
    """Let one more silo join; its schema is served from now on.

    Args:
        founded: the consortium so far.
        directory: where it lives.
        schema: of the silo's domain.
        silo: the new silo's id.
        data: CSV file with its private records.
        terms: its policy's numbers.

    Raises:
        ConfigError: the silo is there already, or a file is not usable.
    """
    terms = terms or PrivacyTerms()
    home = directory / "silos" / silo
    add_schema(founded.provider_home, schema)
    init_silo(
        home,
        silo=silo,
        data=data,
        schema=schema,
        provider=founded.provider,
        provider_address=load_provider_config(founded.provider_home).address,
        epsilon=terms.epsilon,
        delta=terms.delta,
        lifetime_epsilon=terms.lifetime_epsilon,
        record_bound=terms.record_bound,
    )
    (reply,) = enrol(founded.provider_home, [make_keys(home)])
    join(home, reply, founded.root_fingerprint)
    return replace(founded, silo_homes={**founded.silo_homes, silo: home})
