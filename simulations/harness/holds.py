"""What a scenario declares must still hold, judged when all its seeds are done.

Figures are judged as means over the seeds; everything else in every seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from llamdex_fl.rounds import Answer
from provider_server.rounds import RoundState
from simulations.harness.scenario import Hold
from simulations.harness.seed_run import SeedResult

__all__ = ["Verdict", "judge"]

_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether something held; ``got`` is what was there, in words."""

    what: str
    wanted: str
    held: bool
    got: str


def judge(holds: Sequence[Hold], results: Sequence[SeedResult]) -> list[Verdict]:
    """Judge every declared thing.

    Args:
        holds: of the scenario.
        results: one a seed, at least one.
    """
    verdicts = []
    for hold in holds:
        held, got = _JUDGES[hold.what](hold, results)
        needed = hold.value if hold.value is not None else hold.share
        wanted = " ".join(str(part) for part in (needed, hold.fault) if part not in {None, ""})
        verdicts.append(Verdict(what=hold.what, wanted=wanted, held=held, got=got))
    return verdicts


_Judged = tuple[bool, str]


def _completes(_: Hold, results: Sequence[SeedResult]) -> _Judged:
    states = [state for result in results for state in result.states]
    done = sum(state == RoundState.COMPLETED for state in states)
    kills = sum(result.measured.get("provider_kills_pending", 0.0) for result in results)
    waiting = f"; {kills:.0f} kills of the provider never happened" if kills else ""
    return done == len(states) and not kills, f"{done} of {len(states)} rounds completed{waiting}"


def _nothing_lost(_: Hold, results: Sequence[SeedResult]) -> _Judged:
    problems = [f"seed {result.seed}: {problem}" for result in results for problem in result.accounts.problems]
    return not problems, _few(problems) or "every account adds up"


def _delivered(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    shares = [len(result.accounts.delivered) / len(result.accounts.outcomes) for result in results]
    return min(shares) >= (hold.share or 0.0), f"{min(shares):.3f} of the silos in the worst seed"


def _accuracy(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    mean = fmean(result.assembled.accuracy if result.assembled else 0.0 for result in results)
    return mean >= (hold.value or 0.0), f"{mean:.4f}"


def _auc(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    mean = fmean(result.assembled.auc if result.assembled else 0.0 for result in results)
    return mean >= (hold.value or 0.0), f"{mean:.4f}"


def _drop(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    drops = [
        (result.reference.accuracy if result.reference else 0.0)
        - (result.assembled.accuracy if result.assembled else 0.0)
        for result in results
    ]
    mean = fmean(drops)
    return mean <= (hold.value or 0.0), f"{mean:.4f}, worst seed {max(drops):.4f}"


def _beats(_: Hold, results: Sequence[SeedResult]) -> _Judged:
    mean = fmean(result.assembled.auc if result.assembled else 0.0 for result in results)
    silos = set.intersection(*(set(result.alone) for result in results))
    alone = {silo: fmean(result.alone[silo].auc for result in results) for silo in sorted(silos)}
    best = max(alone, key=lambda silo: alone[silo], default="")
    if not best:
        return False, "no silo has an expert in every seed"
    return mean > alone[best], f"AUC {mean:.4f} assembled, {alone[best]:.4f} of {best}"


def _quarantined(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    return _each_hit(hold, results, lambda result, silo: result.accounts.status.get(silo) == "quarantined")


def _refused(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    return _each_hit(
        hold,
        results,
        lambda result, silo: (
            Answer.PROVIDER_REFUSED in result.accounts.outcomes.get(silo, []) and silo not in result.accounts.status
        ),
    )


def _silent(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    return _each_hit(hold, results, lambda result, silo: silo not in result.alone)


def _each_hit(hold: Hold, results: Sequence[SeedResult], good: Callable[[SeedResult, str], bool]) -> _Judged:
    hit = [(result, silo) for result in results for silo in result.faults.get(hold.fault, [])]
    bad = [f"seed {result.seed}: {silo}" for result, silo in hit if not good(result, silo)]
    return bool(hit) and not bad, f"{len(hit) - len(bad)} of {len(hit)} silos" + (f"; not {_few(bad)}" if bad else "")


def _budget(_: Hold, results: Sequence[SeedResult]) -> _Judged:
    over = [f"seed {result.seed}: {silo}" for result in results for silo in result.accounts.over_budget]
    most = max((cost for result in results for cost in result.accounts.epsilon.values()), default=0.0)
    return not over, _few(over) or f"epsilon of at most {most:.4f} in a ledger"


def _memory(hold: Hold, results: Sequence[SeedResult]) -> _Judged:
    most = max(result.measured.get("peak_bytes", 0.0) for result in results)
    return most <= (hold.value or 0.0) * 1e9, f"{most / 1e9:.3f} GB in this process"


def _few(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


_JUDGES: Mapping[str, Callable[[Hold, Sequence[SeedResult]], _Judged]] = {
    "completes": _completes,
    "nothing_lost_or_counted_twice": _nothing_lost,
    "delivered_at_least": _delivered,
    "accuracy_at_least": _accuracy,
    "auc_at_least": _auc,
    "accuracy_drop_at_most": _drop,
    "beats_every_silo_alone": _beats,
    "quarantined": _quarantined,
    "refused": _refused,
    "silent": _silent,
    "budget_kept": _budget,
    "memory_at_most_gb": _memory,
}
