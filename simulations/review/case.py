"""What a hostile case is, and the place where it is carried out.

A case makes tries; each try tells what it was answered. A case passes if every try got the answer that the table of
docs/envelope.md has for it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.errors import LlamdexError
from llamdex_fl.schema import Schema
from simulations.review.attacker import Attacker
from simulations.review.consortium import Consortium

__all__ = ["Arena", "Case", "Outcome", "Try", "carry_out", "case", "registered"]


@dataclass(frozen=True, slots=True)
class Try:
    """One way to try a case, what it was answered, and what it should have been (None: what the case expects)."""

    what: str
    got: str
    expected: str | None = None


class Arena:
    """Where cases are carried out: a running consortium for those that leave it intact, and more for the others.

    Args:
        directory: empty.
        thorough: whether to try all of what a case could try, or a sample.
    """

    def __init__(self, directory: Path, *, thorough: bool = False) -> None:
        """Start nothing yet."""
        self.directory = directory
        self.thorough = thorough
        self._shared: Consortium | None = None
        self._made = 0

    @property
    def consortium(self) -> Consortium:
        """The shared consortium, whose provider runs: silos a and b."""
        if self._shared is None:
            self._shared = self._found("shared", ("a", "b"))
            self._shared.start()
        return self._shared

    @contextmanager
    def attacker(self, silo: str = "a") -> Iterator[Attacker]:
        """An attacker at the shared consortium."""
        with Attacker.connected(self.consortium, silo) as attacker:
            yield attacker

    @contextmanager
    def own(
        self,
        silos: Sequence[str] = ("a",),
        *,
        schema: Schema | None = None,
        limits: Mapping[str, float] | None = None,
        root_keys: int = 1,
        start: bool = True,
    ) -> Iterator[Consortium]:
        """A consortium of a case's own, stopped afterwards."""
        self._made += 1
        made = self._found(f"own{self._made}", silos, schema=schema, limits=limits, root_keys=root_keys)
        try:
            if start:
                made.start()
            yield made
        finally:
            made.stop(kill=True)

    def close(self) -> None:
        """Stop the shared provider."""
        if self._shared is not None:
            self._shared.stop()

    def _found(self, name: str, silos: Sequence[str], **more: Any) -> Consortium:  # noqa: ANN401 - of Consortium
        directory = self.directory / name
        directory.mkdir(parents=True)
        return Consortium(directory, silos, **more)


Attack = Callable[[Arena], Iterable[Try]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A hostile case.

    Attributes:
        id: 1 to 40 as in the specification's table; the project's own follow.
        case: what is tried.
        expected: the answer it must get.
        control: what is there against it, for the report's table of threats.
        attack: tries it.
        slow: whether it takes longer than the default tests may.
    """

    id: int
    case: str
    expected: str
    control: str
    attack: Attack
    slow: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a case."""

    case: Case
    got: str
    passed: bool
    tries: tuple[Try, ...]


_CASES: dict[int, Case] = {}


def case(number: int, what: str, expected: str, *, control: str, slow: bool = False) -> Callable[[Attack], Attack]:
    """Enter a function into the table of cases."""

    def enter(attack: Attack) -> Attack:
        if number in _CASES:
            raise AssertionError(f"case {number} is there twice")
        _CASES[number] = Case(id=number, case=what, expected=expected, control=control, attack=attack, slow=slow)
        return attack

    return enter


def registered() -> tuple[Case, ...]:
    """The cases of all modules that were imported so far, by id."""
    return tuple(_CASES[number] for number in sorted(_CASES))


def carry_out(one: Case, arena: Arena) -> Outcome:
    """Try a case; an attack that fails itself did not pass."""
    tries: list[Try] = []
    try:
        tries.extend(one.attack(arena))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cases are still tried
        # An error of ours says what was wrong; the text of another one may be long, and its kind says enough.
        text = str(error) if isinstance(error, LlamdexError | AssertionError) else ""
        tries.append(Try("the attack itself", f"{type(error).__name__} {text}".strip()[:300]))
    wrong = [each for each in tries if each.got != (each.expected or one.expected)]
    # What a try was answered besides, such as how many entries the log has then, is told only if it is wrong.
    told = wrong or [each for each in tries if each.expected is None] or tries
    got = "; ".join(dict.fromkeys(each.got for each in told)) or "nothing was tried"
    return Outcome(case=one, got=got, passed=bool(tries) and not wrong, tries=tuple(tries))
