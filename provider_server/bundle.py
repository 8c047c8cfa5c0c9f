"""The Flower app as a directory for ``flwr run``: the few files that ``[tool.flwr.app]`` of pyproject.toml names.

Flower would also take them from a checkout itself, but it walks through everything in it first.
"""

import shutil
import tomllib
from pathlib import Path

import tomli_w

from llamdex_fl.errors import ArtefactError

__all__ = ["write_bundle"]

_ROOT = Path(__file__).resolve().parents[1]


def write_bundle(directory: Path, root: Path = _ROOT) -> Path:
    """Write the app's directory afresh and return it.

    Its pyproject.toml asks for nothing to be installed but Flower itself.

    Raises:
        ArtefactError: ``root`` is not a checkout of Llamdex FL.
    """
    project_file = root / "pyproject.toml"
    if not project_file.is_file():
        raise ArtefactError(
            "The Flower app is not here.",
            expected=f"the project's {project_file}",
            got="nothing",
            next_step="run from a checkout of the project",
        )
    project = tomllib.loads(project_file.read_text(encoding="utf-8"))
    app = project["tool"]["flwr"]["app"]
    shutil.rmtree(directory, ignore_errors=True)
    for name in app["fab-include"]:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)
    slim = {
        "project": {
            **{key: project["project"][key] for key in ("name", "version", "description", "license")},
            "dependencies": [name for name in project["project"]["dependencies"] if name.startswith("flwr")],
        },
        "tool": {"flwr": project["tool"]["flwr"]},
    }
    (directory / "pyproject.toml").write_text(tomli_w.dumps(slim), encoding="utf-8")
    return directory
