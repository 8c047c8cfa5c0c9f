"""Relatives that are counted one by one: "two brothers and a sister" are three, as one number.

Those of the asked person's own generation (siblings, a spouse) are summed apart from those of another (parents,
children), for no list that counts people mixes the two: "my wife, two sons and a daughter" holds the number three.
"""

import re
from collections.abc import Mapping, Sequence

from llamdex_fl.connectors.units import Number

__all__ = ["summed_kin"]

_OWN = r"(?:brother|sister|sibling|spouse|wife|husband|twin)"
_OTHER = r"(?:son|daughter|child|kid|baby|infant|toddler|parent|mother|father|mum|mom|mam|ma|mummy|dad|daddy|pa)"
_ADJECTIVE = (
    r"(?:(?:older|elder|eldest|oldest|younger|youngest|little|big|small|baby|twin|kid|teenage|grown-up|grown|adult|infant"
    r"|newborn|own|only|young|old|elderly|widowed|dear|new|other)[\s-])"
)
#: A relative, or several, without what counts them: "little sisters", "half-brother", "stepson".
_NOUN = re.compile(
    rf"{_ADJECTIVE}{{0,2}}(?:half|step)?-?(?:(?P<own>{_OWN})|(?P<other>{_OTHER}))"
    r"(?P<many>s|es|ren)?(?![^\W_]|['\u2019]s\b)",  # not "the brother's wife"
    re.IGNORECASE,
)
#: What may stand between a number and its noun: "two of her sons".
_OF = re.compile(r"(?:\sof\s(?:his|her|their|my|our|the))?[\s-]\Z", re.IGNORECASE)
_LEAD = re.compile(r"(?:\b(?:both|an?)\s)?(?:\b(?:his|her|their|my|our|the)\s)?\Z", re.IGNORECASE)
#: Around a list of those who are missing, or may be: "no brother, sister or spouse".
_MAYBE_BEFORE = re.compile(r"\b(?:no|not|neither|nor|without|any|counting)[^\S\n]\Z", re.IGNORECASE)
_MAYBE_AFTER = re.compile(r",?[^\S\n](?:or|nor)\b", re.IGNORECASE)
_PARENTS = 2
_REACH = 24
#: What may stand between a relative and the next: a name, an age, and a comma or "and".
_NEXT = re.compile(
    r"(?:[^\S\n]+(?-i:[A-Z][a-z]+))?(?:[^\S\n]?\(\d{1,2}\)|,?[^\S\n]aged?[^\S\n]\d{1,2},?|,[^\S\n]\d{1,2})?"
    r"(?:[^\S\n]?(?:,[^\S\n]and|,|&|\+)[^\S\n]?|[^\S\n](?:and|plus|as[^\S\n]well[^\S\n]as|together[^\S\n]with)[^\S\n])"
    r"(?:with[^\S\n])?(?:(?:also|then)[^\S\n])?",
    re.IGNORECASE,
)
#: A relative with what counts it: generation, count (0 where it is not known), where it starts and ends.
_Kin = tuple[str, int, int, int]


def summed_kin(numbers: Sequence[Number], text: str) -> list[Number]:
    """The sums of relatives that stand in one list, at least two of one generation next to each other."""
    whole = [number for number in numbers if not number.ordinal and number.value.is_integer() and number.value > 0]
    ends = {number.end: number for number in whole}
    sums, run = list[Number](), list[_Kin]()
    for one in (_kin(noun, ends, text) for noun in _NOUN.finditer(text)):
        if run and not (run[-1][0] == one[0] and one[2] >= run[-1][3] and _NEXT.fullmatch(text, run[-1][3], one[2])):
            sums += _summed(run, text)
            run = []
        run.append(one)
    return sums + _summed(run, text)


def _summed(run: Sequence[_Kin], text: str) -> list[Number]:
    if len(run) < 2 or not all(count for _, count, _, _ in run):  # noqa: PLR2004 - a list
        return []
    if _MAYBE_BEFORE.search(text, max(0, run[0][2] - _REACH), run[0][2]) or _MAYBE_AFTER.match(text, run[-1][3]):
        return []
    return [Number(run[0][2], run[-1][3], float(sum(count for _, count, _, _ in run)), composite=True)]


def _kin(noun: re.Match[str], ends: Mapping[int, Number], text: str) -> _Kin:
    """What a noun counts, with the words before it that say how many; 0 where nothing says so."""
    generation = "own" if noun["own"] else "other"
    start, reach = noun.start(), max(0, noun.start() - _REACH)
    of = _OF.search(text, reach, start)
    number = ends.get(of.start()) if of else None
    if number is not None:
        return generation, int(number.value), number.start, noun.end()
    count = 1
    if noun["many"]:
        count = _PARENTS if noun.group().lower().endswith("parents") else 0
    lead = _LEAD.search(text, reach, start)
    return generation, count, lead.start() if lead else start, noun.end()
