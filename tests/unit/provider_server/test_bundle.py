"""The Flower app's directory: made afresh, and never in the place of anything else."""

from pathlib import Path

import pytest

from llamdex_fl.errors import ConfigError
from provider_server.bundle import write_bundle


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_bundle_is_made_and_made_again(tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "app")
    first = files(made)
    assert "pyproject.toml" in first
    (made / "llamdex.llamdex-fl.1.fab").touch()
    (made / "silo_client/old.py").touch()
    assert files(write_bundle(tmp_path / "app")) == first


def test_nothing_else_is_ever_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/pyproject.toml").touch()
    (tmp_path / "thesis/chapter.txt").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("thesis")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "code/silo_client").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for name in (".", "thesis", "file", "link", "dangling", "code"):
        with pytest.raises(ConfigError, match="nothing was removed"):
            write_bundle(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
