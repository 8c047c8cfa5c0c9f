"""Founds a consortium in a directory: what people do once on several machines, done on one.

::

    DIRECTORY/
      provider/        the provider's home
      silos/<id>/      each silo's home
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llamdex_fl.schema import Schema
from provider_server.setup import add_schema, enrol, init_provider
from silo_client.enrolment import join, make_keys
from silo_client.setup import init_silo
from simulations.local_consortium.supervisor import free_port

__all__ = ["Founded", "PrivacyTerms", "found_consortium"]

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
    add_schema(provider_home, schema)
    homes, requests = {}, []
    for silo, path in data.items():
        home = homes[silo] = directory / "silos" / silo
        its = (terms or {}).get(silo, PrivacyTerms())
        init_silo(
            home,
            silo=silo,
            data=path,
            schema=schema,
            provider=_PROVIDER,
            provider_address=address,
            epsilon=its.epsilon,
            delta=its.delta,
            lifetime_epsilon=its.lifetime_epsilon,
            record_bound=its.record_bound,
        )
        requests.append(make_keys(home))
    replies = enrol(provider_home, requests)
    for home, reply in zip(homes.values(), replies, strict=True):
        join(home, reply, fingerprint)
    return Founded(provider_home=provider_home, silo_homes=homes, provider=_PROVIDER, root_fingerprint=fingerprint)
