"""Every hostile case of the specification, against real provider processes; ``make review`` tries more of each."""

import importlib
from collections.abc import Iterator

import pytest

from simulations.review import CASES, THREATS, Arena, Case, carry_out
from simulations.review.crash_cases import SAMPLE
from simulations.review.mortal import PROVIDER_POINTS, ROTATION_POINTS, SILO_POINTS, Point


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"))
    yield made
    made.close()


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=str(case.id), marks=[pytest.mark.slow] * case.slow) for case in CASES]
)
def test_hostile_case(case: Case, arena: Arena):
    outcome = carry_out(case, arena)
    assert outcome.passed, f"{case.case}: expected {case.expected}, got {outcome.got}"


@pytest.mark.slow
def test_killed_at_every_step(tmp_path_factory: pytest.TempPathFactory):
    thorough = Arena(tmp_path_factory.mktemp("thorough"), thorough=True)
    try:
        outcome = carry_out(next(case for case in CASES if case.id == 35), thorough)
    finally:
        thorough.close()
    assert outcome.passed, outcome.got


def test_all_forty_cases_are_there():
    assert [case.id for case in CASES][:40] == list(range(1, 41))
    assert {case.id for case in CASES} <= {number for threat in THREATS for number in threat.cases}


def test_places_of_death_have_names_of_their_own():
    for points in (PROVIDER_POINTS, SILO_POINTS):
        assert len({point.name for point in points}) == len(points)
    assert {point.name for point in (*PROVIDER_POINTS, *SILO_POINTS)} >= SAMPLE


@pytest.mark.parametrize("point", [*PROVIDER_POINTS, *SILO_POINTS, *ROTATION_POINTS], ids=lambda point: point.name)
def test_every_place_to_die_is_there(point: Point):
    module, _, name = point.owner.partition(":")
    owner = importlib.import_module(module)
    assert callable(getattr(getattr(owner, name) if name else owner, point.attribute))
