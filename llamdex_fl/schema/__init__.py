"""What the records of a domain mean: features, public bounds, target; and the digest that names a schema.

A schema is public. Everything that a silo does before its DP mechanism (scaling, coding, imputation) may use
the schema and nothing else.
"""

from llamdex_fl.schema.library import find_schema, library_names, load_library_schema
from llamdex_fl.schema.model import MOST_TEXT_CHARACTERS, Feature, Schema, Target, Value, load_schema, parse_schema

__all__ = [
    "MOST_TEXT_CHARACTERS",
    "Feature",
    "Schema",
    "Target",
    "Value",
    "find_schema",
    "library_names",
    "load_library_schema",
    "load_schema",
    "parse_schema",
]
