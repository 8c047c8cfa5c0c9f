"""The Flower app as a directory for ``flwr run``: the few files that ``[tool.flwr.app]`` of pyproject.toml names.

Flower would also take them from a checkout itself, but it walks through everything in it first.
"""

import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from llamdex_fl.errors import ArtefactError, ConfigError

__all__ = ["write_bundle"]

_ROOT = Path(__file__).resolve().parents[1]


def write_bundle(directory: Path, root: Path = _ROOT) -> Path:
    """Write the app's directory afresh and return it.

    Its pyproject.toml asks for nothing to be installed but Flower itself.

    Raises:
        ArtefactError: ``root`` is not a checkout of Llamdex FL.
        ConfigError: ``directory`` is there and holds something else than a Flower app that was written here.
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
    _require_replaceable(directory, app["fab-include"])
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


def _require_replaceable(directory: Path, names: Sequence[str]) -> None:
    """What is removed to make room must be an older bundle and nothing else: the path may have been mistyped."""
    if directory.is_dir() and not directory.is_symlink():
        # Flower leaves its own build of the app beside the files that we wrote; Python, its cache.
        ours = {"pyproject.toml", *(Path(name).parts[0] for name in names), "__pycache__"}
        others = [path for path in directory.iterdir() if path.name not in ours and path.suffix != ".fab"]
        if not others and (not any(directory.iterdir()) or (directory / "pyproject.toml").is_file()):
            return
        got = "a directory with other files"
    elif not directory.exists() and not directory.is_symlink():
        return
    else:
        got = "a file or a link"
    raise ConfigError(
        f"{directory} cannot be made afresh.",
        expected="a new or empty directory, or an older bundle",
        got=got,
        next_step="name another directory; nothing was removed",
    )
