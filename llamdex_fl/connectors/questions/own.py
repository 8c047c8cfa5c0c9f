"""The project's own wording of a schema: what its authors wrote, and what the schema itself says."""

from importlib.resources import files

from llamdex_fl.connectors.questions.generic import generic_document
from llamdex_fl.connectors.questions.wording import Wording, own_sources, parsed, wording_of
from llamdex_fl.schema import Schema

__all__ = ["training_wording"]

_PACKAGE = "llamdex_fl.connectors.questions"


def training_wording(schema: Schema, *, without: str | None = None) -> Wording:
    """All authors' wordings of a schema that come with the project, and the generic one; that alone for other schemas.

    Args:
        schema: of tables.
        without: an author whose files are left out ("forum": ``forum.toml``, ``forum-units.toml``), to be read by a
            reader that never saw them.
    """
    sources = own_sources(_PACKAGE, schema) if (files(_PACKAGE) / "wording" / schema.name).is_dir() else []
    if without is not None:
        sources = [(name, text) for name, text in sources if not name.startswith(without)]
    return wording_of(schema, [*parsed(sources), ("generic", generic_document(schema))])
