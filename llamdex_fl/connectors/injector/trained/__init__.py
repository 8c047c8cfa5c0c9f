"""Injectors that come with the package, by base LLM: they know no schema, so they are trained once for all."""

from importlib.resources import files
from pathlib import Path

__all__ = ["trained_injector", "trained_injector_name"]

_DIGITS = 16


def trained_injector_name(base_digest: str) -> str:
    """The name of the folder that holds the injector of a base LLM."""
    return base_digest[:_DIGITS]


def trained_injector(base_digest: str) -> Path | None:
    """The folder of the injector that comes with the package for a base LLM; None if there is none.

    It was made by ``train_injector`` with its default recipe, as ``llamdex-sim train-injector`` makes one from today's
    wordings.
    """
    folder = Path(str(files(__package__) / trained_injector_name(base_digest)))
    return folder if (folder / "injector.json").is_file() else None
