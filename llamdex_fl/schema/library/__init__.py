"""Schemas that come with the project, one JSON file a domain."""

from importlib.resources import files
from pathlib import Path

from llamdex_fl.errors import SchemaError
from llamdex_fl.schema.model import Schema, load_schema, parse_schema

__all__ = ["find_schema", "library_names", "load_library_schema"]


def library_names() -> list[str]:
    """Names of the schemas that come with the project, sorted."""
    return sorted(path.name.removesuffix(".json") for path in files(__name__).iterdir() if path.name.endswith(".json"))


def load_library_schema(name: str) -> Schema:
    """Load one of the project's own schemas.

    Raises:
        SchemaError: no schema of this name comes with the project.
    """
    path = files(__name__) / f"{name}.json"
    if not path.is_file():
        raise SchemaError(
            f"There is no schema called {name!r}.",
            expected=f"one of {', '.join(library_names())}",
            got=name,
            next_step="name one of these, or give the path of a schema file",
        )
    return parse_schema(path.read_text(encoding="utf-8"), source=f"{name}.json")


def find_schema(name_or_path: str) -> Schema:
    """One of the project's own schemas by its name, else the schema of a file.

    Raises:
        SchemaError: there is no such file, or it is no schema.
    """
    return load_library_schema(name_or_path) if name_or_path in library_names() else load_schema(Path(name_or_path))
