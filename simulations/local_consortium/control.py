"""Orders for Flower's command line, which runs beside us in a process of its own (``flower_control``)."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ProcessError
from simulations.local_consortium.supervisor import Supervisor

__all__ = ["FlowerControl"]


class FlowerControl:
    """Registers SuperNodes and submits runs over the SuperLink's control plane, which is on loopback only."""

    def __init__(self, supervisor: Supervisor, flower: Path, address: str, environment: Mapping[str, str]) -> None:
        """Start the process; it imports Flower while other things start."""
        self._flower = flower
        self._address = address
        self._home = Path(environment["FLWR_HOME"])
        self._log = supervisor.logs / "control.log"
        with self._log.open("wb") as log:
            self._handle = subprocess.Popen(
                # By its path: it starts sooner without this package.
                [sys.executable, "-P", Path(__file__).with_name("flower_control.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=supervisor.environment(environment),
                start_new_session=True,
                text=True,
            )

    def connect(self, name: str) -> None:
        """Name the SuperLink in Flower's own configuration."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._home / "config.toml").write_text(
            f"[superlink]\ndefault = {json.dumps(name)}\n\n[superlink.{name}]\n"
            f"address = {json.dumps(self._address)}\nroot-certificates = {json.dumps(str(self._flower / 'ca.crt'))}\n",
            encoding="utf-8",
        )

    def order(self, *arguments: str) -> dict[str, Any]:
        """Give one order and return the JSON that Flower answers.

        Raises:
            ProcessError: Flower refused, or its process is gone.
        """
        assert self._handle.stdin is not None and self._handle.stdout is not None  # noqa: S101, PT018 - both are pipes
        try:
            self._handle.stdin.write(json.dumps(arguments) + "\n")
            self._handle.stdin.flush()
            answer = json.loads(self._handle.stdout.readline())
        except (OSError, ValueError):
            answer = {"ok": False, "output": "nothing: its process is gone"}
        if not answer["ok"]:
            raise ProcessError(
                f"Flower did not obey: flwr {arguments[0]}.",
                expected="an order that succeeds",
                got=str(answer["output"]),
                next_step=f"read {self._log} and {self._log.with_name('superlink.log')}",
            )
        return dict(answer["output"])

    def close(self) -> None:
        """End the process."""
        self._handle.kill()
        self._handle.wait()
        for pipe in (self._handle.stdin, self._handle.stdout):
            # What was not sent goes with the process.
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
