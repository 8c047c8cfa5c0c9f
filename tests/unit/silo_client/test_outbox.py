"""What a silo keeps on disk: nothing half-written, nothing sent twice, keys only the owner reads."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamdex_fl import weights
from llamdex_fl.envelope import Answer, RefusedError, SigningKey, TreeHead
from llamdex_fl.envelope.merkle import root_hash
from llamdex_fl.errors import ChannelError, ConfigError, EnvelopeError
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from llamdex_fl.release import Offer, Release
from silo_client import uplink
from silo_client.config import SiloConfig, load_silo_config
from silo_client.enrolment import load_identity, make_keys
from silo_client.outbox import Outbox

OFFER = Offer(
    provider="prov",
    purpose="answer",
    schema_digest="11" * 32,
    architecture="x/v1",
    base_model_digest="22" * 32,
    epsilon=1.0,
    delta=1e-5,
    challenge="33" * 32,
)
RELEASE = Release(
    schema_digest="11" * 32,
    architecture="x/v1",
    tensors={"w": np.ones(3, np.float32)},
    guarantee=Guarantee(
        epsilon=0.5, delta=1e-5, mechanisms=(LaplaceCounts(epsilon=0.5),), accountant="pld", accountant_version="x"
    ),
)


@pytest.fixture
def config(tmp_path: Path) -> SiloConfig:
    (tmp_path / "silo.toml").write_text('silo = "a"\ndata = "d"\nprovider = "prov"\nprovider_address = "127.0.0.1:1"\n')
    return load_silo_config(tmp_path)


def test_put_and_get(config: SiloConfig):
    outbox = Outbox(config)
    assert outbox.get(OFFER.challenge) is None
    uplink.keep(RELEASE, OFFER, config)
    outbox.put(RELEASE, OFFER)
    assert Outbox(config).get(OFFER.challenge) == (OFFER, RELEASE.guarantee)
    assert {path.stat().st_mode & 0o077 for path in config.spool.iterdir()} == {0}
    with pytest.raises(RefusedError) as caught:
        outbox.put(replace(RELEASE, tensors={"w": np.zeros(3, np.float32)}), OFFER)
    assert caught.value.answer is Answer.ALREADY_EXISTS


def test_a_crash_while_putting(config: SiloConfig, monkeypatch: pytest.MonkeyPatch):
    outbox = Outbox(config)
    for step in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", _fail_at(step))
            with pytest.raises(KeyboardInterrupt):
                outbox.put(RELEASE, OFFER)
        assert outbox.get(OFFER.challenge) is None
    outbox.put(RELEASE, OFFER)
    assert outbox.get(OFFER.challenge) is not None


def _fail_at(step: int) -> Any:  # noqa: ANN401 - stands for a method
    calls, original = [0], Path.replace

    def failing(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == step:
            raise KeyboardInterrupt
        return original(self, target)

    return failing


def test_counter_and_tree_head(config: SiloConfig):
    outbox, key = Outbox(config), SigningKey.generate()
    assert outbox.tree_head(key.public) is None
    head = TreeHead.make("prov", 0, root_hash([]), datetime(2026, 1, 31, tzinfo=UTC), key)
    later = TreeHead.make("prov", 1, root_hash([bytes(32)]), datetime(2026, 2, 1, tzinfo=UTC), key)
    outbox.remember(head)
    assert [outbox.next_counter(head) for _ in range(3)] == [1, 2, 3]
    assert Outbox(config).tree_head(key.public) == head
    assert Outbox(config).next_counter(later) == 4
    assert outbox.tree_head(key.public) == later
    with pytest.raises(ChannelError):
        outbox.tree_head(SigningKey.generate().public)


@pytest.mark.parametrize("text", ["", "[]", '{"counter": "1"}', "nonsense"])
def test_damaged_state(text: str, config: SiloConfig):
    (config.home / "uplink.json").write_text(text)
    with pytest.raises(ChannelError):
        Outbox(config).tree_head(SigningKey.generate().public)


def test_the_digest_of_what_was_spooled(config: SiloConfig):
    outbox, challenge = Outbox(config), OFFER.challenge
    outbox.put(RELEASE, OFFER)
    assert outbox.digest(challenge) == weights.file_digest(outbox.plaintext(challenge))
    outbox.require_intact(challenge)
    good = outbox.plaintext(challenge).read_bytes()
    outbox.plaintext(challenge).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(EnvelopeError):
        outbox.require_intact(challenge)
    # As an earlier version wrote it.
    order = config.spool / f"{challenge}.json"
    document = json.loads(order.read_text())
    del document["sha256"]
    order.write_text(json.dumps(document))
    assert outbox.digest(challenge) == weights.file_digest(outbox.plaintext(challenge))


def test_damaged_order_and_envelope(config: SiloConfig):
    outbox = Outbox(config)
    outbox.put(RELEASE, OFFER)
    outbox.sealed_path(OFFER.challenge).write_bytes(b"half an envelope")
    assert outbox.sealed(OFFER.challenge) is None
    assert not outbox.sealed_path(OFFER.challenge).exists()
    for text in ("", "{}", '{"offer": {}, "guarantee": {}}'):
        (config.spool / f"{OFFER.challenge}.json").write_text(text)
        with pytest.raises(EnvelopeError):
            outbox.get(OFFER.challenge)


def test_one_upload_at_a_time(config: SiloConfig):
    # Two opened files exclude each other, in one process as in two.
    entered = threading.Event()

    def second() -> None:
        with Outbox(config).locked():
            entered.set()

    thread = threading.Thread(target=second)
    with Outbox(config).locked():
        thread.start()
        assert not entered.wait(0.3)
    thread.join(5)
    assert entered.is_set()


def test_a_silo_that_has_not_joined(config: SiloConfig):
    make_keys(config.home)
    with pytest.raises(ConfigError, match="not joined"):
        load_identity(config)
    with pytest.raises(ConfigError):
        uplink.upload(RELEASE, OFFER, config)


def test_making_keys_again_keeps_them(config: SiloConfig):
    make_keys(config.home)
    before = (config.keys / "signing.pem").read_bytes()
    make_keys(config.home)
    assert (config.keys / "signing.pem").read_bytes() == before
    (config.keys / "tls.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="Others"):
        make_keys(config.home)


def test_what_a_killed_process_left_is_removed(config: SiloConfig):
    outbox = Outbox(config)
    outbox.put(RELEASE, OFFER)
    waiting = set(config.spool.iterdir())
    (config.spool / f".{OFFER.challenge}.ldx.1.part").write_bytes(b"half")
    done = "ab" * 32
    for suffix in ("json", "safetensors", "ldx"):
        (config.spool / f"{done}.{suffix}").write_bytes(b"sent")
    (config.home / "receipts" / f"{done}.json").write_text("{}")
    with outbox.locked():
        assert set(config.spool.iterdir()) == waiting
