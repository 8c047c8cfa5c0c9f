"""Founds a consortium of many silos at once: one version of the keyring for all, where one a silo would be quadratic.

::

    DIRECTORY/
      provider/        the provider's home
      silos/<id>/      each silo's home; <id>/records.csv beside them in data/
"""

import filecmp
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provider_server.config import load_provider_config
from provider_server.setup import add_schema, enrol, init_provider
from silo_client.enrolment import join, make_keys
from silo_client.setup import init_silo
from simulations.datasets import LabelledRecord, write_silo_csv
from simulations.harness.population import Population
from simulations.local_consortium import Founded, PrivacyTerms
from simulations.local_consortium.supervisor import free_port

__all__ = ["Founder"]

_HOST, _PROVIDER, _TRUST_DOMAIN = "127.0.0.1", "provider", "sim.llamdex.example"

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Founder:
    """Makes homes under a directory.

    Attributes:
        directory: new or empty.
        terms: silo id -> its policy's numbers.
        records: silo id -> what it trains on.
        told: of each silo (stage, done, in all).
    """

    directory: Path
    population: Population
    terms: Mapping[str, PrivacyTerms]
    records: Mapping[str, Sequence[LabelledRecord]]
    told: Told

    def found(self, silos: Sequence[str]) -> Founded:
        """Make the provider, and enrol silos.

        Raises:
            PortInUseError: no port is free.
            ConfigError: the directory is in use, or the budgets make no policy.
        """
        home = self.directory / "provider"
        address = f"{_HOST}:{free_port(_HOST)}"
        fingerprint = init_provider(home, provider=_PROVIDER, trust_domain=_TRUST_DOMAIN, address=address)
        add_schema(home, self.population.schema)
        founded = Founded(provider_home=home, silo_homes={}, provider=_PROVIDER, root_fingerprint=fingerprint)
        return self.enrol(founded, silos)

    def enrol(self, founded: Founded, silos: Sequence[str]) -> Founded:
        """Let silos join a consortium that is there, all in one version of the keyring; its provider may be running."""
        address = load_provider_config(founded.provider_home).address
        requests, homes = [], dict(founded.silo_homes)
        for number, silo in enumerate(silos):
            self.told("making silos", number, len(silos))
            data = self.directory / "data" / f"{silo}.csv"
            write_silo_csv(data, self.population.schema, self.records[silo])
            homes[silo] = self.directory / "silos" / silo
            # What an interrupted enrolment left has spent and released nothing.
            shutil.rmtree(homes[silo], ignore_errors=True)
            terms = self.terms[silo]
            init_silo(
                homes[silo],
                silo=silo,
                data=data,
                schema=self.population.schema,
                provider=founded.provider,
                provider_address=address,
                epsilon=terms.epsilon,
                delta=terms.delta,
                lifetime_epsilon=terms.lifetime_epsilon,
                record_bound=terms.record_bound,
            )
            requests.append(make_keys(homes[silo]))
        self.told("making silos", len(silos), len(silos))
        self.told("enrolling", 0, len(silos))
        replies = enrol(founded.provider_home, requests)
        for number, (silo, reply) in enumerate(zip(silos, replies, strict=True), start=1):
            join(homes[silo], reply, founded.root_fingerprint)
            # Each holds the whole keyring: kept, they would be as large as all silos' homes.
            reply.unlink()
            _share_keyring(homes[silos[0]], homes[silo])
            self.told("enrolling", number, len(silos))
        return Founded(
            provider_home=founded.provider_home,
            silo_homes=homes,
            provider=founded.provider,
            root_fingerprint=founded.root_fingerprint,
        )


def _share_keyring(first: Path, home: Path) -> None:
    """Keep the bytes of a keyring once on the disk; whoever gets another one replaces the file, and so its own only."""
    own, beside = home / "keyring.json", home / ".keyring.link"
    if home != first and filecmp.cmp(first / own.name, own, shallow=False):
        beside.unlink(missing_ok=True)
        beside.hardlink_to(first / own.name)
        beside.replace(own)
