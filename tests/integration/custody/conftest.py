"""A real ``llamdex-provider serve`` on loopback with mTLS, and silos that joined it through files."""

import contextlib
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llamdex_fl.experts import THERMOMETER_LINEAR, tensor_shapes
from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian, certify
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Feature, Schema, Target
from provider_server.config import load_provider_config
from provider_server.registry import Registry
from provider_server.setup import add_schema, enrol, init_provider
from silo_client.config import SiloConfig, load_silo_config
from silo_client.enrolment import join, make_keys

LIMITS = """
[limits]
plaintext_bytes = 4000000
sessions_per_silo = 50
uploads_per_silo_and_day = 1000
header_seconds = 2.0
chunk_seconds = 2.0
"""


PROVIDER = [sys.executable, "-W", "error::ResourceWarning", "-c", "from provider_server.cli import main; main()"]


class Consortium:
    """A provider's home, silos' homes, and at most one provider process."""

    def __init__(self, directory: Path, silos: tuple[str, ...] = ("a", "b")) -> None:
        """Found a consortium, and enrol some silos; the provider does not run yet."""
        self.directory = directory
        self.home = directory / "provider"
        self.port = _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.fingerprint = init_provider(self.home, provider="prov", trust_domain="heart.example", address=self.address)
        with (self.home / "provider.toml").open("a") as file:
            file.write(LIMITS)
        # Wide enough for an expert of three chunks.
        self.schema = _wide_schema()
        add_schema(self.home, self.schema)
        self.silos = {silo: self.add_silo(silo) for silo in silos}
        self.process: subprocess.Popen[str] | None = None
        self.guarantee: Guarantee = certify(
            (
                SampledGaussian(sampling_rate=1.0, noise_multiplier=20.0, steps=10, max_grad_norm=1.0),
                LaplaceCounts(epsilon=0.1),
            ),
            1e-4,
        )

    def add_silo(self, silo: str) -> SiloConfig:
        home = self.directory / silo
        home.mkdir()
        lines = {"silo": silo, "data": "data.csv", "provider": "prov", "provider_address": self.address}
        (home / "silo.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
        (reply,) = enrol(self.home, [make_keys(home)])
        join(home, reply, self.fingerprint)
        return load_silo_config(home)

    @property
    def registry(self) -> Registry:
        return Registry(load_provider_config(self.home).registry)

    def offer(self) -> Offer:
        offer = Offer(
            provider="prov",
            purpose="answer",
            schema_digest=self.schema.digest(),
            architecture=THERMOMETER_LINEAR,
            base_model_digest="22" * 32,
            epsilon=2.0,
            delta=1e-4,
            challenge=secrets.token_hex(32),
        )
        with self.registry as registry:
            registry.open_round(offer)
        return offer

    def release(self, seed: int = 0) -> Release:
        rng = np.random.default_rng(seed)
        return Release(
            schema_digest=self.schema.digest(),
            architecture=THERMOMETER_LINEAR,
            tensors={
                name: np.asarray(1.0 + rng.standard_normal(shape), np.float32)
                for name, shape in tensor_shapes(THERMOMETER_LINEAR, self.schema).items()
            },
            guarantee=self.guarantee,
        )

    def start(self) -> None:
        with (self.directory / "provider.log").open("a") as log:
            self.process = subprocess.Popen(
                [*PROVIDER, "serve", str(self.home), "--verbose"], stdout=subprocess.PIPE, stderr=log, text=True
            )
        if self.process.stdout is None or self.process.stdout.readline() != f"ready {self.address}\n":
            raise AssertionError((self.directory / "provider.log").read_text())

    def stop(self, *, kill: bool = False) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if kill:
            process.kill()
        else:
            process.terminate()
        with contextlib.closing(process.stdout) if process.stdout else contextlib.nullcontext():
            return process.wait(timeout=20)

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROVIDER, command, str(self.home), *arguments], check=False, capture_output=True, text=True, timeout=60
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wide_schema() -> Schema:
    labels = tuple(f"l{number}" for number in range(150))
    return Schema(
        name="wide",
        title="Wide",
        question="Which?",
        features=tuple(
            Feature(name=f"f{number}", kind="category", description="d", categories=tuple(f"c{i}" for i in range(30)))
            for number in range(40)
        ),
        target=Target(name="t", labels=labels, answers=labels, sentences=tuple(f"{label}." for label in labels)),
    )


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """One provider for the tests of a module; a test that kills it starts it again."""
    made = Consortium(tmp_path_factory.mktemp("consortium"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def make_consortium(tmp_path: Path) -> Iterator[Callable[..., Consortium]]:
    """Consortia of a test's own."""
    made: list[Consortium] = []

    def make(name: str = "own", silos: tuple[str, ...] = ("a",)) -> Consortium:
        (tmp_path / name).mkdir()
        made.append(Consortium(tmp_path / name, silos))
        return made[-1]

    yield make
    for one in made:
        one.stop(kill=True)
