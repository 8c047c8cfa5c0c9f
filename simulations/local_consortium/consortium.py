"""A whole consortium on one machine, of the real processes: what a demo and the integration tests run.

Started at once: the provider's upload service, the SuperLink (TLS, SuperNode authentication, tasks in processes
of their own), a daemon for each silo, and Flower's command line. When the SuperLink answers: its SuperExec, and a
SuperNode for each silo, registered under the silo's id with a key of its own. Everything listens on loopback.
"""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llamdex_fl.envelope.control_plane import make_node_key, make_superlink_tls
from llamdex_fl.errors import ConfigError, ProcessError
from llamdex_fl.rounds import offer_to_text
from provider_server.bundle import write_bundle
from provider_server.config import load_provider_config
from provider_server.round_report import RoundReport, report_path
from provider_server.rounds import RoundSpec
from silo_client.config import load_silo_config
from simulations.local_consortium.control import FlowerControl
from simulations.local_consortium.supervisor import Process, Supervisor, free_port

__all__ = ["LocalConsortium", "Timings"]

_HOST = "127.0.0.1"
_CONNECTION = "local"
_START_TIMEOUT_S = 120.0
_POLL_S = 0.2
#: A run is looked after this often, in case its ServerApp died without a report.
_LOOK_S = 5.0
_RESTARTS = 4
#: The SuperLink refuses a SuperNode that comes back before it was given up (exit code 305).
_NODE_PAUSE_S = 62.0
#: Silent, local and with nothing installed at run time.
_FLOWER_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
    "PYTHONUNBUFFERED": "1",
}


#: Many silos share one machine here, and an expert is small: one thread each.
_DAEMON_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(kw_only=True, slots=True)
class Timings:
    """Seconds from the start of the consortium."""

    superlink: float = 0.0
    services: float = 0.0
    started: float = 0.0
    submitted: float = 0.0


class LocalConsortium:
    """A context in which the processes of a provider and its silos run.

    Args:
        work_dir: logs, the SuperLink's state and Flower's own home; made anew at each start.
        provider_home: a provider's directory (``llamdex-provider init``), with the silos enrolled.
        silo_homes: the silos' directories (``llamdex-silo init``, ``keys``, ``join``).
        superlink_port: a port for the SuperLink; a free one if None.
        environments: process name -> what is added to its environment (tests put faults there).
    """

    def __init__(
        self,
        *,
        work_dir: Path,
        provider_home: Path,
        silo_homes: Sequence[Path],
        superlink_port: int | None = None,
        environments: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Nothing is started yet."""
        self.work_dir = work_dir.resolve()
        self.provider_home = provider_home.resolve()
        self.silos = {load_silo_config(home).silo: home.resolve() for home in silo_homes}
        self.timings = Timings()
        self.supervisor = Supervisor(self.work_dir)
        self._wanted_port = superlink_port
        self._port = 0
        self._flower = self.work_dir / "flower"
        self._environments = dict(environments or {})
        self._control: FlowerControl | None = None
        self._began_s = 0.0

    def __enter__(self) -> Self:
        """Start everything and wait until it answers.

        Raises:
            PortInUseError: a fixed port, or the directory, is taken.
            ProcessError: a process did not start.
        """
        self._began_s = time.monotonic()
        self.supervisor.__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes."""
        try:
            if self._control is not None:
                self._control.close()
        finally:
            self.supervisor.__exit__(kind, error, trace)

    def run_round(
        self, round_id: str, spec: RoundSpec, progress: Callable[[RoundReport], None] | None = None
    ) -> RoundReport:
        """Hold one round through Flower and return its report.

        The challenge of ``spec.offer`` is not used: the ServerApp draws one. ``progress`` is called with the report
        whenever it changed.

        Raises:
            ConfigError: the round was held already.
            ProcessError: a process ended for good, or the run ended without a finished report.
        """
        path = report_path(self.provider_home, round_id)
        if _finished(path):
            raise ConfigError(
                f"The round {round_id} was held already.",
                expected="a fresh round id",
                got=f"the report {path}",
                next_step="read the report, or hold a round with another id",
            )
        run_id = self._submit(round_id, spec)
        deadline_s = time.monotonic() + spec.answer_timeout_s + _START_TIMEOUT_S
        look_s = time.monotonic() + _LOOK_S
        stamp: object = None
        while time.monotonic() < deadline_s:
            self.supervisor.tend()
            now: object = path.stat().st_mtime_ns if path.exists() else None
            if now != stamp:
                stamp = now
                report = RoundReport.load(path)
                if progress is not None:
                    progress(report)
                if report.finished:
                    return report
            if time.monotonic() >= look_s:
                look_s = time.monotonic() + _LOOK_S
                self._look_at(run_id, path)
            time.sleep(_POLL_S)
        raise self._no_report("nothing in time")

    def process(self, name: str) -> Process:
        """A process by its name: ``provider``, ``superlink``, ``superexec``, ``daemon-SILO``, ``supernode-SILO``."""
        return self.supervisor.processes[name]

    def _start(self) -> None:
        shutil.rmtree(self._flower, ignore_errors=True)
        self._flower.mkdir(mode=0o700)
        make_superlink_tls(self._flower, _HOST)
        secret = self._flower / "superexec.bin"
        secret.touch(mode=0o600)
        secret.write_bytes(secrets.token_bytes(32))
        self._port = free_port(_HOST, self._wanted_port)
        self._require_free_upload_port()
        superlink = self._start_superlink(secret)
        self._control = FlowerControl(self.supervisor, self._flower, f"{_HOST}:{self._port}", self._environment())
        provider = self.supervisor.start(
            "provider", [_program("llamdex-provider"), "serve", self.provider_home], restarts=_RESTARTS
        )
        daemons = [
            self.supervisor.start(
                f"daemon-{silo}", [_program("llamdex-silo"), "serve", home], _DAEMON_ENVIRONMENT, restarts=_RESTARTS
            )
            for silo, home in self.silos.items()
        ]
        app = write_bundle(self._flower / "llamdex-fl")
        self._control.connect(_CONNECTION)
        self.supervisor.wait_port(superlink, _HOST, self._port, _START_TIMEOUT_S)
        self.timings.superlink = self._elapsed_s()
        self._start_nodes(secret)
        for process in (provider, *daemons):
            self.supervisor.wait_ready(process, _START_TIMEOUT_S)
        self.timings.services = self._elapsed_s()
        self._app = app
        self.timings.started = self._elapsed_s()

    def _require_free_upload_port(self) -> None:
        # The silos know this address, so it is fixed; found taken now, it is told at once and by its number.
        host, _, port = load_provider_config(self.provider_home).address.rpartition(":")
        if port != "0":
            free_port(host, int(port))

    def _start_superlink(self, secret: Path) -> Process:
        return self.supervisor.start(
            "superlink",
            [
                _program("flower-superlink"),
                "--ssl-ca-certfile", self._flower / "ca.crt",
                "--ssl-certfile", self._flower / "tls.crt",
                "--ssl-keyfile", self._flower / "tls.key",
                "--enable-supernode-auth",
                "--disable-runtime-dependency-installation",
                "--database", self._flower / "state.db",
                "--host", _HOST,
                "--port", str(self._port),
                "--isolation", "process",
                "--superexec-auth-secret-file", secret,
            ],
            self._environment(),
            restarts=_RESTARTS,
        )  # fmt: skip

    def _start_nodes(self, secret: Path) -> None:
        assert self._control is not None  # noqa: S101 - set by _start before
        trust: list[str | Path] = ["--root-certificates", self._flower / "ca.crt"]
        self.supervisor.start(
            "superexec",
            [
                _program("flower-superexec"), *trust,
                "--runtime-api-address", f"{_HOST}:{self._port}",
                "--superexec-auth-secret-file", secret,
            ],
            # The ServerApp's process inherits this; the run's configuration, which silos read, does not say it.
            {**self._environment("superexec"), "LLAMDEX_PROVIDER_HOME": str(self.provider_home)},
            restarts=_RESTARTS,
        )  # fmt: skip
        for silo, home in self.silos.items():
            key = self._flower / "nodes" / silo
            self._control.order("supernode", "register", str(make_node_key(key)), _CONNECTION, "--name", silo)
            self.supervisor.start(
                f"supernode-{silo}",
                [
                    _program("flower-supernode"), *trust,
                    "--superlink", f"{_HOST}:{self._port}",
                    "--auth-supernode-private-key", key,
                    "--node-config", f"silo-home={json.dumps(str(home))}",
                    "--host", _HOST,
                    "--port", str(free_port(_HOST)),
                ],
                self._environment(f"supernode-{silo}"),
                restarts=_RESTARTS,
                pause_s=_NODE_PAUSE_S,
            )  # fmt: skip

    def _submit(self, round_id: str, spec: RoundSpec) -> str:
        assert self._control is not None  # noqa: S101 - the context was entered
        offer = offer_to_text(spec.offer)
        settings: dict[str, str | int | float] = {
            "round-id": round_id,
            **{name.replace("_", "-"): offer[name] for name in _TERMS},
            "silos": ",".join(spec.silos),
            "quorum": spec.quorum,
            "online-timeout-s": spec.online_timeout_s,
            "answer-timeout-s": spec.answer_timeout_s,
            "attempts": spec.attempts,
        }
        run_config = " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
        answer = self._control.order("run", str(self._app), _CONNECTION, "--run-config", run_config)
        self.timings.submitted = self._elapsed_s()
        return str(answer["run-id"])

    def _look_at(self, run_id: str, path: Path) -> None:
        assert self._control is not None  # noqa: S101 - the context was entered
        try:
            runs: list[dict[str, Any]] = self._control.order("ls", _CONNECTION, "--run-id", run_id)["runs"]
        except ProcessError:
            # A SuperLink that was killed is on its way back; the round's deadline is the judge.
            return
        if runs and str(runs[0]["status"]).startswith("finished") and not _finished(path):
            raise self._no_report(f"a run that ended as {runs[0]['status']}")

    def _no_report(self, got: str) -> ProcessError:
        return ProcessError(
            "The round has no report.",
            expected="the report of a finished round",
            got=got,
            next_step=f"read {self.supervisor.logs / 'superexec.log'}",
        )

    def _environment(self, process: str = "") -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        flower = {**_FLOWER_ENVIRONMENT, "FLWR_HOME": str(self._flower / "home"), "PATH": path}
        return {**flower, **self._environments.get(process, {})}

    def _elapsed_s(self) -> float:
        return round(time.monotonic() - self._began_s, 2)


_TERMS = ("purpose", "schema_digest", "architecture", "base_model_digest", "epsilon", "delta")


def _finished(path: Path) -> bool:
    return path.exists() and RoundReport.load(path).finished


def _program(name: str) -> Path:
    return Path(sys.executable).parent / name
