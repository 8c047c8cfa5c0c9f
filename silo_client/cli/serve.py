"""``llamdex-silo serve``: run the daemon that holds the silo's records, keys and ledger."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from silo_client.cli.main import app
from silo_client.config import load_silo_config

__all__ = ["serve"]


@app.command()
def serve(
    home: Annotated[Path, typer.Argument(help="The silo's directory.")],
    socket: Annotated[
        Path | None, typer.Option(help="Listen here instead of HOME/silo.sock, for a SuperNode that may not read HOME.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Give the socket to this group (mode 0660), for a SuperNode under another user.")
    ] = None,
    passphrase_file: console.PassphraseFile = None,
) -> None:
    """Run the silo's daemon: it trains and sends when the policy on this disk allows an offer.

    Prints "ready SOCKET" once it answers, and runs until it is stopped (Ctrl-C or SIGTERM).
    """
    # Everything that this process writes is the silo's alone.
    os.umask(0o077)
    config = load_silo_config(home)
    from llamdex_fl.envelope import is_encrypted  # noqa: PLC0415 - keeps --help fast
    from silo_client.keys import key_sets  # noqa: PLC0415

    passphrase = console.passphrase(passphrase_file)
    if any(is_encrypted(keys.signing) for keys in key_sets(config)) and passphrase is not None:
        # Asked for now, while somebody is there, and not at the first upload.
        passphrase()
    from silo_client.daemon import Daemon, open_log  # noqa: PLC0415 - keeps --help fast
    from silo_client.daemon_protocol import socket_path  # noqa: PLC0415
    from silo_client.work import SiloWorker  # noqa: PLC0415

    log = open_log(config.home)
    path = socket.absolute() if socket is not None else socket_path(config.home)
    worker = SiloWorker(config, log, passphrase=passphrase)
    daemon = Daemon(home=config.home, path=path, worker=worker, log=log, group=group)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: daemon.stop())
    ready = threading.Event()
    threading.Thread(target=_announce, args=(ready, path, worker.warm_up), daemon=True).start()
    daemon.serve(ready)


def _announce(ready: threading.Event, path: Path, then: Callable[[], None]) -> None:
    ready.wait()
    sys.stdout.write(f"ready {path}\n")
    sys.stdout.flush()
    then()
