"""A provider process on loopback with mTLS, and silos that joined it through files: what is attacked.

Everything is real but the records: keys, certificates, keyring, database, sockets, processes.
"""

import contextlib
import os
import resource
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from llamdex_fl.errors import ProcessError
from llamdex_fl.experts import THERMOMETER_LINEAR, tensor_shapes
from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian, certify
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Feature, Schema, Target
from provider_server.config import load_provider_config
from provider_server.registry import Registry
from provider_server.setup import add_schema, enrol, init_provider
from silo_client.config import SiloConfig, load_silo_config
from silo_client.enrolment import join, make_keys
from simulations.local_consortium.supervisor import free_port

__all__ = ["PROVIDER_ID", "TRUST_DOMAIN", "Consortium"]

PROVIDER_ID, TRUST_DOMAIN = "prov", "heart.example"
_PROVIDER = (sys.executable, "-W", "error::ResourceWarning", "-c", "from provider_server.cli import main; main()")
#: Deadlines are short, so that a slow sender is answered within a test; quotas are wide, as each case needs uploads.
_LIMITS: Mapping[str, float] = {
    "plaintext_bytes": 4_000_000,
    "sessions_per_silo": 1000,
    "uploads_per_silo_and_day": 10_000,
    "header_seconds": 2.0,
    "chunk_seconds": 2.0,
}
_STOP_SECONDS = 20.0


class Consortium:
    """A provider's home, silos' homes, and at most one provider process.

    Args:
        directory: empty; all of it lies there.
        silos: their ids.
        schema: of the domain; wide enough for an expert of three chunks if None.
        limits: entries of ``[limits]`` in provider.toml, over those of this module.
        root_keys: how many root keys there are; two thirds of them must sign.
    """

    def __init__(
        self,
        directory: Path,
        silos: Sequence[str] = ("a", "b"),
        *,
        schema: Schema | None = None,
        limits: Mapping[str, float] | None = None,
        root_keys: int = 1,
    ) -> None:
        """Found a consortium, and enrol its silos; the provider does not run yet."""
        self.directory = directory
        self.home = directory / "provider"
        self.port = free_port("127.0.0.1")
        self.address = f"127.0.0.1:{self.port}"
        self.fingerprint = init_provider(
            self.home,
            provider=PROVIDER_ID,
            trust_domain=TRUST_DOMAIN,
            address=self.address,
            root_keys=root_keys,
            root_threshold=-(-2 * root_keys // 3),
        )
        with (self.home / "provider.toml").open("a", encoding="utf-8") as file:
            file.write("\n[limits]\n")
            file.writelines(f"{name} = {value}\n" for name, value in {**_LIMITS, **(limits or {})}.items())
        self.schema = schema or _wide_schema()
        add_schema(self.home, self.schema)
        self.silos: dict[str, SiloConfig] = {}
        self.add_silos(silos)
        self.process: subprocess.Popen[str] | None = None
        self.guarantee: Guarantee = certify(
            (
                SampledGaussian(sampling_rate=1.0, noise_multiplier=20.0, steps=10, max_grad_norm=1.0),
                LaplaceCounts(epsilon=0.1),
            ),
            1e-4,
        )

    def add_silos(self, silos: Sequence[str]) -> None:
        """Enrol silos, all in one version of the keyring."""
        for silo in silos:
            home = self.directory / silo
            home.mkdir()
            lines = {"silo": silo, "data": "data.csv", "provider": PROVIDER_ID, "provider_address": self.address}
            (home / "silo.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
        replies = enrol(self.home, [make_keys(self.directory / silo) for silo in silos])
        for silo, reply in zip(silos, replies, strict=True):
            join(self.directory / silo, reply, self.fingerprint)
            self.silos[silo] = load_silo_config(self.directory / silo)

    @property
    def registry(self) -> Registry:
        """The provider's registry, opened beside the process that serves it."""
        return Registry(load_provider_config(self.home).registry)

    @property
    def log(self) -> str:
        """What the provider logged."""
        return (self.directory / "provider.log").read_text(encoding="utf-8")

    def offer(self) -> Offer:
        """Open a round."""
        offer = Offer(
            provider=PROVIDER_ID,
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
        """An expert with random weights, three chunks long."""
        random = np.random.default_rng(seed)
        return Release(
            schema_digest=self.schema.digest(),
            architecture=THERMOMETER_LINEAR,
            tensors={
                name: np.asarray(1.0 + random.standard_normal(shape), np.float32)
                for name, shape in tensor_shapes(THERMOMETER_LINEAR, self.schema).items()
            },
            guarantee=self.guarantee,
        )

    def entries(self) -> list[str]:
        """The log's leaves that are receipts of releases, in hex; one that is in it twice is here twice."""
        with self.registry as registry:
            receipts = {record.receipt_id for record in registry.releases()}
            return [leaf.hex() for leaf in registry.log.leaves() if leaf.hex() in receipts]

    def start(self, *, program: Sequence[str] = _PROVIDER, file_bytes: int | None = None) -> None:
        """Start the provider and wait until it listens.

        Args:
            program: that takes the place of ``llamdex-provider``.
            file_bytes: no file of the process may grow larger than this, as if its disk were full.

        Raises:
            ProcessError: it did not come up.
        """
        limit: Callable[[], None] | None = None
        if file_bytes is not None:
            size = file_bytes

            def limit() -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        with (self.directory / "provider.log").open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [*program, "serve", str(self.home), "--verbose"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=limit,  # noqa: PLW1509 - no thread of this process holds a lock that it needs
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        if self.process.stdout is None or self.process.stdout.readline() != f"ready {self.address}\n":
            raise ProcessError(
                "The provider did not start.", expected="ready", got=self.log[-2000:], next_step="read its log"
            )

    def stop(self, *, kill: bool = False) -> int:
        """End the provider, with SIGTERM or SIGKILL; its exit code (0 if it did not run)."""
        process, self.process = self.process, None
        if process is None:
            return 0
        if kill:
            process.kill()
        else:
            process.terminate()
        with contextlib.closing(process.stdout) if process.stdout else contextlib.nullcontext():
            return process.wait(timeout=_STOP_SECONDS)

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the provider's program on its home."""
        return subprocess.run(
            [*_PROVIDER, command, str(self.home), *arguments], check=False, capture_output=True, text=True, timeout=60
        )


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
