"""Keys, an offer, a session and a sealed file, made once; tests take copies apart and never change them."""

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from llamdex_fl.envelope import (
    RecipientKey,
    SealedFile,
    SealOrder,
    Session,
    SigningKey,
    TreeHead,
    seal,
)
from llamdex_fl.envelope.merkle import root_hash
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts, SampledGaussian
from llamdex_fl.release import Offer

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def world() -> SimpleNamespace:
    silo, provider, recipient = SigningKey.generate(), SigningKey.generate(), RecipientKey.generate()
    head = TreeHead.make("prov", 0, root_hash([]), NOW, provider)
    offer = Offer(
        provider="prov",
        purpose="answer",
        schema_digest="11" * 32,
        architecture="thermometer_linear/v1",
        base_model_digest="22" * 32,
        epsilon=1.0,
        delta=1e-5,
        challenge="33" * 32,
    )
    session = Session(
        upload_id="44" * 16,
        challenge="55" * 32,
        expires_at=NOW + timedelta(hours=1),
        suite="LDX1",
        recipient_keyid=recipient.public.keyid,
        max_plaintext_bytes=1 << 30,
        tree_head=head.envelope,
        consistency=(),
    )
    guarantee = Guarantee(
        epsilon=0.97,
        delta=1e-5,
        mechanisms=(
            SampledGaussian(sampling_rate=0.5, noise_multiplier=8.0, steps=50, max_grad_norm=1.0),
            LaplaceCounts(epsilon=0.1),
        ),
        accountant="pld",
        accountant_version="dp-accounting 0.6.0",
    )
    order = SealOrder(silo="a", session=session, offer=offer, guarantee=guarantee, counter=7, now=NOW)
    return SimpleNamespace(
        silo=silo,
        provider=provider,
        recipient=recipient,
        offer=offer,
        session=session,
        guarantee=guarantee,
        order=order,
        now=NOW,
    )


@pytest.fixture(scope="session")
def plaintext() -> bytes:
    """Three chunks, the last one short."""
    return bytes(range(256)) * 2500


@pytest.fixture(scope="session")
def sealed(world: SimpleNamespace, plaintext: bytes, tmp_path_factory: pytest.TempPathFactory) -> SealedFile:
    path: Path = tmp_path_factory.mktemp("spool") / "a.ldx"
    return seal(io.BytesIO(plaintext), path, world.order, signer=world.silo, recipient=world.recipient.public)
