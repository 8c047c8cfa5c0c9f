"""Claims of privacy, decided without IO."""

from typing import Any

import pytest

from llamdex_fl.envelope import Answer, RefusedError
from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from provider_server.intake import check_claim

# The type of the fixture lives in a conftest, which cannot be imported.
Bench = Any
GUARANTEE = Guarantee(
    epsilon=0.5, delta=1e-5, mechanisms=(LaplaceCounts(epsilon=0.5),), accountant="pld", accountant_version="x"
)


def test_claims():
    for certified in (0.5, 0.499, 0.4999999):
        check_claim(GUARANTEE, lambda _m, _d, certified=certified: certified)  # type: ignore[misc]  # bound now

    def refuses(_mechanisms: object, _delta: float) -> float:
        raise InputError("x", expected="y", got="z", next_step="w")

    cases = [lambda _m, _d, c=c: c for c in (0.51, 0.3, float("inf"), float("nan"))]  # type: ignore[misc]  # bound now
    for certify in (*cases, refuses):
        with pytest.raises(RefusedError) as caught:
            check_claim(GUARANTEE, certify)
        assert caught.value.answer is Answer.INVALID_ARGUMENT
