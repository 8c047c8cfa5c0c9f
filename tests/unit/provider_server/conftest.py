"""A provider's home with two enrolled silos, and a desk on it: everything real but the sockets."""

import io
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamdex_fl import weights
from llamdex_fl.envelope import SealedFile, SealOrder, Wish, seal
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from llamdex_fl.release import Offer
from llamdex_fl.schema import load_library_schema
from provider_server.config import load_provider_config
from provider_server.desk import Checks, Desk
from provider_server.keys import load_provider_keys
from provider_server.registry import Registry
from provider_server.setup import add_schema, enrol, init_provider
from silo_client.config import load_silo_config
from silo_client.enrolment import SiloIdentity, join, load_identity, make_keys

#: Three chunks.
SHAPES = {"weight": (2, 90_000), "bias": (2,)}


class Bench:
    """A provider's home, and what is needed to drive its desk step by step."""

    def __init__(self, directory: Path) -> None:
        """Found a consortium of the silos a and b."""
        self.home = directory / "provider"
        self._fingerprint = init_provider(
            self.home, provider="prov", trust_domain="heart.example", address="127.0.0.1:0"
        )
        self.schema = load_library_schema("heart")
        add_schema(self.home, self.schema)
        self.silos: dict[str, SiloIdentity] = {}
        self.spool = directory
        self.add_silos("a", "b")
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.epsilon = 0.5
        self.desks: list[Desk] = []

    def add_silos(self, *silos: str) -> None:
        for silo in silos:
            home = self.spool / silo
            home.mkdir()
            (home / "silo.toml").write_text(
                f'silo = "{silo}"\ndata = "d"\nprovider = "prov"\nprovider_address = "127.0.0.1:1"\n'
            )
            join(home, enrol(self.home, [make_keys(home)])[0], self._fingerprint)
            self.silos[silo] = load_identity(load_silo_config(home))

    def desk(self) -> Desk:
        """A desk as after a restart: nothing is shared with the one before but the disk."""
        config = load_provider_config(self.home)
        checks = Checks(tensor_shapes=lambda _a, _s: SHAPES, certify_epsilon=lambda _m, _d: self.epsilon)
        self.registry = Registry(config.registry)
        return Desk(config, self.registry, load_provider_keys(config), checks, clock=lambda: self.now)

    def offer(self) -> Offer:
        offer = Offer(
            provider="prov",
            purpose="answer",
            schema_digest=self.schema.digest(),
            architecture="test/v1",
            base_model_digest="22" * 32,
            epsilon=1.0,
            delta=1e-5,
            challenge=secrets.token_hex(32),
        )
        self.registry.open_round(offer)
        return offer

    def seal(
        self,
        desk: Desk,
        silo: str = "a",
        offer: Offer | None = None,
        *,
        seed: int = 0,
        nan_at: int | None = None,
        **changes: object,
    ) -> SealedFile:
        offer = offer or self.offer()
        rng = np.random.default_rng(seed)
        data = weights.encode(
            {name: np.asarray(1 + rng.standard_normal(shape), np.float32) for name, shape in SHAPES.items()}
        )
        if nan_at is not None:
            place = nan_at % len(data) // 4 * 4
            data = data[:place] + np.float32(np.nan).tobytes() + data[place + 4 :]
        session = desk.begin(silo, Wish(round_challenge=offer.challenge, plaintext_length=len(data)))
        identity = self.silos[silo]
        order = SealOrder(
            silo=silo,
            session=session,
            offer=offer,
            guarantee=Guarantee(
                epsilon=0.5,
                delta=1e-5,
                mechanisms=(LaplaceCounts(epsilon=0.5),),
                accountant="pld",
                accountant_version="test",
            ),
            counter=self.registry.accepted.last_counter(silo) + 1,
            now=self.now,
        )
        return seal(
            io.BytesIO(data),
            self.spool / f"{session.upload_id}.ldx",
            replace(order, **changes),  # type: ignore[arg-type]  # a table of changes
            signer=identity.signer,
            recipient=identity.keyring.provider.recipients[0],
        )

    def send(self, desk: Desk, sealed: SealedFile, silo: str = "a") -> None:
        stream = desk.receive(silo, sealed.header)
        try:
            for chunk in sealed.chunks(stream.next_index):
                stream.write(chunk)
            stream.finish()
        finally:
            stream.close()

    def commit(self, desk: Desk, sealed: SealedFile, silo: str = "a", known: int = 0) -> Any:  # noqa: ANN401 - Committed
        return desk.commit(silo, sealed.header.upload_id, sealed.header.statement.digest().hex(), known)

    def later(self, **more: float) -> None:
        self.now += timedelta(**more)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
