"""Founds a consortium of many silos at once: one version of the keyring for all, where one a silo would be quadratic.

::

    DIRECTORY/
      provider/        the provider's home
      silos/<id>/      each silo's home; <id>/records.csv beside them in data/
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.envelope import EnrolmentReply, SignedEnvelope, write_trust
from provider_server.config import load_provider_config
from provider_server.keyring_writer import KeyringWriter
from provider_server.keyring_writer import _reply as make_reply
from provider_server.setup import add_schema, enrol, init_provider
from silo_client import enrolment
from silo_client.config import load_silo_config
from silo_client.enrolment import make_keys, take
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
        with _replies() as replies:
            enrol(founded.provider_home, requests)
        with _one_keyring():
            for number, silo in enumerate(silos, start=1):
                take(load_silo_config(homes[silo]), replies[silo], founded.root_fingerprint)
                self.told("enrolling", number, len(silos))
        return Founded(
            provider_home=founded.provider_home,
            silo_homes=homes,
            provider=founded.provider,
            root_fingerprint=founded.root_fingerprint,
        )


@contextmanager
def _replies() -> Iterator[dict[str, EnrolmentReply]]:
    """What the provider would send to each silo, by its id; every file would hold the whole keyring."""
    found: dict[str, EnrolmentReply] = {}
    write = KeyringWriter.reply

    def keep(writer: KeyringWriter, silo: str, certificate: bytes) -> Path:
        found[silo] = make_reply(writer.config, writer.root, writer.keyring, certificate)
        return writer.config.replies / f"{silo}.json"

    _set(KeyringWriter, "reply", keep)
    try:
        yield found
    finally:
        _set(KeyringWriter, "reply", write)


@contextmanager
def _one_keyring() -> Iterator[None]:
    """Keep the bytes of a root and a keyring once on the disk; who gets others replaces the files, so only its own."""
    first: dict[tuple[bytes, bytes], Path] = {}

    def linked(home: Path, root: SignedEnvelope, keyring: SignedEnvelope) -> None:
        # By the bytes themselves, not by a digest of megabytes: in one founding they are the same objects.
        there = first.setdefault((root.payload, keyring.payload), home)
        if there == home:
            write_trust(home, root, keyring)
            return
        for name in ("keyring.json", "root.json"):
            beside = home / f".{name}.link"
            beside.unlink(missing_ok=True)
            beside.hardlink_to(there / name)
            beside.replace(home / name)

    _set(enrolment, "write_trust", linked)
    try:
        yield
    finally:
        _set(enrolment, "write_trust", write_trust)


def _set(owner: object, name: str, what: Any) -> None:  # noqa: ANN401 - any function
    setattr(owner, name, what)
