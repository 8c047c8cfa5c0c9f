"""Gives Flower's own command line several orders from one process, because its import takes seconds.

Run as ``python -P flower_control.py``: each line on stdin is a JSON list of arguments of
``flwr``; each line on stdout answers with ``{"ok": bool, "output": ...}``, the JSON that the command printed.
``FLWR_HOME`` names the directory of its configuration.
"""

import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from flwr.cli.app import app as flwr_app
from typer.main import get_command

__all__ = ["main"]


def _obey(command: Any, arguments: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401 - a click command
    printed = io.StringIO()
    stdout, original = sys.stdout, sys.__stdout__
    # Flower prints its JSON to sys.__stdout__, past any redirection of sys.stdout.
    sys.stdout = sys.__stdout__ = printed  # type: ignore[misc, assignment]
    try:
        command.main(args=[*arguments, "--format", "json"], standalone_mode=False)
        document = json.loads(printed.getvalue())
        return {"ok": bool(document.get("success")), "output": document}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it was, the next order must be heard
        sys.stderr.write(f"flwr {arguments[0]}: {error!r}\n{printed.getvalue()}\n")
        sys.stderr.flush()
        return {"ok": False, "output": type(error).__name__}
    finally:
        sys.stdout, sys.__stdout__ = stdout, original  # type: ignore[misc]


def main() -> None:
    """Obey until stdin ends."""
    command = get_command(flwr_app)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_obey(command, json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
