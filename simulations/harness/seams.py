"""The three places of the silo's code that a simulation takes hold of from outside; the code knows nothing of it.

- ``training.train`` gets noise from a seed, and a malicious silo's release is changed on its way out of it;
- ``uplink.upload`` fails once where a silo is killed between training and upload;
- ``Outbox.finish`` first keeps a copy of the sealed envelope of a silo that will replay it.

All three hold for this process and for the time of one ``with``. A silo's own process never imports this.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl.envelope import Receipt
from llamdex_fl.release import Offer, Release
from silo_client import training, uplink
from silo_client.config import SiloConfig
from silo_client.outbox import Outbox
from silo_client.policy import Authorisation
from simulations.harness.faults import Drawn
from simulations.seeded_noise import SeededNoise

__all__ = ["KilledError", "Seams", "noise_of", "replay_copy"]

_COUNTS = "class_counts"


class KilledError(BaseException):
    """Stands for SIGKILL of a silo's process: no handler of the silo's code takes it for an error of its own."""


def noise_of(seed: int, place: int, round_number: int) -> SeededNoise:
    """The noise of one silo in one round; that of the first round is also ``simulations.consortium_value``'s."""
    words = (seed, place) if round_number == 1 else (seed, place, round_number)
    return SeededNoise(int(np.random.SeedSequence(words).generate_state(1)[0]))


def replay_copy(home: Path) -> Path:
    """Where a replaying silo keeps its sealed envelope."""
    return home / "replayed.ldx"


class Seams:
    """Holds the silo's code for the silos of one seed.

    Args:
        seed: of the noise.
        places: silo id -> its place in the population.
        drawn: the faults.
        told: called after each step of a training.
    """

    def __init__(self, seed: int, places: Mapping[str, int], drawn: tuple[Drawn, ...]) -> None:
        """Nothing is held yet."""
        self.round_number = 1
        self._seed = seed
        self._places = places
        self._drawn = drawn
        self._killed: set[tuple[str, int]] = set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the code until the end of the ``with``."""
        train, upload, finish = training.train, uplink.upload, Outbox.finish

        def seeded(schema: Any, data: Any, authorisation: Authorisation, ledger: Any, **more: Any) -> Release:  # noqa: ANN401 - as train's
            silo = _silo(authorisation)
            more.setdefault("noise", noise_of(self._seed, self._places[silo], self.round_number))
            return self._changed(silo, train(schema, data, authorisation, ledger, **more))

        def mortal(release: Release, offer: Offer, config: SiloConfig, **more: Any) -> Receipt:  # noqa: ANN401 - as upload's
            mark = (config.silo, self.round_number)
            if mark not in self._killed and self._hit("silo_killed", config.silo):
                self._killed.add(mark)
                raise KilledError
            return upload(release, offer, config, **more)

        def copying(outbox: Outbox, challenge: str, receipt: Receipt) -> None:
            sealed = outbox.sealed_path(challenge)
            if sealed.exists() and self._hit("replay", receipt.body.silo):
                shutil.copyfile(sealed, replay_copy(sealed.parent.parent))
            finish(outbox, challenge, receipt)

        _set(training, "train", seeded)
        _set(uplink, "upload", mortal)
        _set(Outbox, "finish", copying)
        try:
            yield
        finally:
            _set(training, "train", train)
            _set(uplink, "upload", upload)
            _set(Outbox, "finish", finish)

    def _hit(self, kind: str, silo: str) -> Drawn | None:
        return next(
            (each for each in self._drawn if each.fault.kind == kind and each.hits(silo, self.round_number)), None
        )

    def _changed(self, silo: str, release: Release) -> Release:
        if scaled := self._hit("scaled_weights", silo):
            factor = np.float32(scaled.fault.factor)
            tensors = {
                name: array if name == _COUNTS else np.asarray(array * factor, np.float32)
                for name, array in release.tensors.items()
            }
            release = replace(release, tensors=tensors)
        if forged := self._hit("forged_claim", silo):
            claim = replace(release.guarantee, epsilon=release.guarantee.epsilon / forged.fault.factor)
            release = replace(release, guarantee=claim)
        return release


def _silo(authorisation: Authorisation) -> str:
    # The name that init_silo gives to a silo's records.
    return authorisation.data_set.removeprefix("records of ")


def _set(owner: object, name: str, what: Callable[..., Any]) -> None:
    setattr(owner, name, what)
