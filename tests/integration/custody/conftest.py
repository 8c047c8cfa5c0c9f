"""A real ``llamdex-provider serve`` on loopback with mTLS, and silos that joined it through files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulations.review.consortium import Consortium


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """One provider for the tests of a module; a test that kills it starts it again."""
    made = Consortium(tmp_path_factory.mktemp("consortium"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def make_consortium(tmp_path: Path) -> Iterator[Callable[..., Consortium]]:
    """Consortia of a test's own."""
    made: list[Consortium] = []

    def make(name: str = "own", silos: tuple[str, ...] = ("a",)) -> Consortium:
        (tmp_path / name).mkdir()
        made.append(Consortium(tmp_path / name, silos))
        return made[-1]

    yield make
    for one in made:
        one.stop(kill=True)
