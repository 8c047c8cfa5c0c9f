"""Processes are killed in mid-round, and the round ends well all the same."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llamdex_fl.privacy import Ledger
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer
from provider_server.config import load_provider_config
from provider_server.registry import Registry
from provider_server.round_report import RoundReport
from provider_server.rounds import RoundSpec, RoundState
from silo_client.config import load_silo_config
from simulations.local_consortium import Founded, LocalConsortium

pytestmark = pytest.mark.slow

SILOS = ("north", "south")


def _round_with_a_kill(
    tmp_path: Path, found_small: Callable[[Path, Sequence[str]], tuple[Founded, Offer]], victim: str
) -> tuple[RoundReport, Founded]:
    founded, offer = found_small(tmp_path, SILOS)
    killed: list[str] = []
    with LocalConsortium(
        work_dir=tmp_path / "work",
        provider_home=founded.provider_home,
        silo_homes=list(founded.silo_homes.values()),
    ) as consortium:

        def kill_once(report: RoundReport) -> None:
            if report.state is RoundState.TRAINING and not killed:
                killed.append(victim)
                os.killpg(consortium.process(victim).handle.pid, signal.SIGKILL)

        spec = RoundSpec(offer=offer, silos=SILOS, quorum=2, online_timeout_s=90, answer_timeout_s=400)
        report = consortium.run_round("faulty", spec, kill_once)
    assert killed
    with Registry(load_provider_config(founded.provider_home).registry) as registry:
        releases = registry.releases(challenge=report.offer.challenge)
    assert sorted(release.silo for release in releases) == list(SILOS)
    return report, founded


@pytest.mark.parametrize("victim", ["supernode-north", "daemon-north", "provider", "superlink"])
def test_every_silo_delivers_once(
    tmp_path: Path, found_small: Callable[[Path, Sequence[str]], tuple[Founded, Offer]], victim: str
):
    report, founded = _round_with_a_kill(tmp_path, found_small, victim)
    assert report.state is RoundState.COMPLETED
    assert [silo.outcome for silo in report.silos] == [Answer.DONE, Answer.DONE]
    entries = Ledger(load_silo_config(founded.silo_homes["south"]).ledger).entries()
    assert len(entries) == 1
