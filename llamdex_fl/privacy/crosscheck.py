"""The cross-check of a certificate by two accountants that share no code with it.

What it protects against: a broken build of numpy, scipy or dp-accounting, a release of theirs that changed what a
parameter means, a bug of ours in how mechanisms are handed over, or memory that flipped a bit: whatever makes one
accountant say something else than the others. What it does not: a mechanism that is not what its parameters say. That
is the trainer's own affair, and the audit's.
"""

import math
from collections.abc import Sequence

from llamdex_fl.errors import AccountantsDisagreeError, InputError
from llamdex_fl.privacy.contour import contour_epsilon
from llamdex_fl.privacy.guarantee import Mechanism
from llamdex_fl.privacy.prv import prv_interval

__all__ = ["cross_check"]

#: How far a certificate may be from the contour reference, above or below.
_CONTOUR_SLACK = 1e-4
#: Half the width of prv's interval, as a share of the certificate, and the least that is worth its time.
_PRV_SHARE = 0.01
_LEAST_PRV_ERROR = 1e-3


def cross_check(mechanisms: Sequence[Mechanism], delta: float, certified: float) -> None:
    """Hold a certified epsilon against PRV's interval and the contour reference.

    Laplace counts are part of both. Where the contour integral does not converge (no Gaussian noise to speak of, or a
    few sub-sampled steps) the certificate must lie below prv's upper end as well, in its place.

    Args:
        mechanisms: of the release.
        delta: of its guarantee.
        certified: the PLD accountant's epsilon for them.

    Raises:
        AccountantsDisagreeError: PRV's lower end is above the certificate, or the certificate is further than 1e-4 from
            the contour reference.
        InputError: a parameter is out of range.
    """
    if not math.isfinite(certified):
        raise _disagree("that is finite", certified)
    interval = prv_interval(mechanisms, delta, epsilon_error=max(_PRV_SHARE * certified, _LEAST_PRV_ERROR))
    if not interval.lower <= certified:  # written so that NaN is refused too
        raise _disagree(f"at least {interval.lower:.6g}, the lower end of prv", certified)
    try:
        reference = contour_epsilon(mechanisms, delta)
    except InputError:
        if not certified <= interval.upper + _CONTOUR_SLACK:
            raise _disagree(f"at most {interval.upper:.6g}, the upper end of prv", certified) from None
        return
    if not math.fabs(certified - reference) <= _CONTOUR_SLACK:
        raise _disagree(f"within {_CONTOUR_SLACK:g} of {reference:.6g}, the contour reference", certified)


def _disagree(expected: str, certified: float) -> AccountantsDisagreeError:
    return AccountantsDisagreeError(
        "The accountants contradict each other about this release, so it gets no guarantee.",
        expected=f"an epsilon {expected}",
        got=f"{certified:.6g} by pld",
        next_step="install the pinned packages again (constraints.txt); if it stays, report this message",
    )
