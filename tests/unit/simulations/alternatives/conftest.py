"""A small consortium that never was."""

import pytest

from llamdex_fl.schema import load_library_schema
from simulations.alternatives import Cohort
from simulations.datasets import split, synthetic_silos


@pytest.fixture(scope="session")
def small_cohort() -> Cohort:
    """Four silos of 40 records each, drawn from the heart schema; ten of each held out."""
    schema = load_library_schema("heart")
    silos = synthetic_silos(schema, 3)
    return Cohort(schema=schema, splits={silo: split(records[:40], 0) for silo, records in silos.items()})
