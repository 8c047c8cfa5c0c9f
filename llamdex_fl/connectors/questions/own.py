"""The project's own wording of a schema: what its authors wrote, and what the schema itself says."""

from importlib.resources import files

from llamdex_fl.connectors.questions.generic import generic_document
from llamdex_fl.connectors.questions.wording import Wording, own_sources, parsed, wording_of
from llamdex_fl.schema import Schema

__all__ = ["training_wording"]

_PACKAGE = "llamdex_fl.connectors.questions"


def training_wording(schema: Schema) -> Wording:
    """All authors' wordings of a schema that come with the project, and the generic one; that alone for other schemas.

    A schema of the project is known by its name; one that has the name and other features is spoken of by its own.
    """
    authors = parsed(own_sources(_PACKAGE, schema)) if (files(_PACKAGE) / "wording" / schema.name).is_dir() else []
    return wording_of(schema, [*authors, ("generic", generic_document(schema))])
