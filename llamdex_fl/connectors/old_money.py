"""Amounts in pounds, shillings and pence, as one number in pounds: "£7 5s 6d", "seven pounds ten shillings".

Only amounts that name shillings, pence or guineas are found here: "£7.25" and "7 pounds" are plain numbers. Amounts are
rounded to four decimals of a pound, as passenger lists have them: £7 17s 11d are 7.8958.
"""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from llamdex_fl.connectors.units import STERLING, Number

__all__ = ["in_pounds", "old_money"]

_A_POUND, _A_SHILLING, _A_GUINEA = 240, 12, 252
_LEAST = Decimal("0.0001")
_MOST = 1e9  # of anything that is paid
#: Without one of these a text holds no such amount; most texts hold none.
_HINT = re.compile(
    r"\d[^\S\n]?[sd]\b|shilling|penc|penn|guinea|\bgns?\b|\bbob\b|\bsh\b|\d/-|£[^\S\n]?\d+[/.-]\d+[/.-]", re.IGNORECASE
)
_SIGN = re.compile(r"£[^\S\n]?\Z")
_POUNDS = re.compile(r"[^\S\n]?(?:pounds?(?:[^\S\n]sterling)?|quid|l\.)", re.IGNORECASE)
_SHILLINGS = re.compile(r"[^\S\n]?(?:(?P<plain>shillings?|bob|sh|/-)|s)(?![^\W_])\.?", re.IGNORECASE)
_PENCE = re.compile(r"[^\S\n]?(?:(?P<plain>pence|penny|pennies)|d)(?![^\W_])\.?", re.IGNORECASE)
#: "sixpence", behind pounds or shillings.
_ONE_WORD = {
    word: pence
    for pence, word in enumerate("tup thrup four five six seven eight nine ten eleven".split(), 2)  # noqa: SIM905 - read more easily
} | {"two": 2, "three": 3}
_PENCE_WORD = re.compile(
    rf"[^\S\n]{{0,2}}(?:,?[^\S\n]?and|,)?[^\S\n]{{1,2}}(?P<word>{'|'.join(_ONE_WORD)})pence(?![^\W_])", re.IGNORECASE
)
_GUINEAS = re.compile(r"[^\S\n]?(?:guineas?|gns?)\b", re.IGNORECASE)
_GAP = re.compile(r"[^\S\n]{0,2}(?:,?[^\S\n]?and|[,.&+-])?[^\S\n]{0,2}", re.IGNORECASE)
#: £7/5/6, £7-5-6 and £7.5.6.
_SHORT = re.compile(r"£[^\S\n]?(?P<l>\d{1,4})(?P<mark>[/.-])(?P<s>1?\d)(?P=mark)(?P<d>1[01]|\d)(?:d\b)?(?![\d/.-]*\d)")


def in_pounds(pence: Decimal | int) -> float:
    """Pence as pounds, to four decimals."""
    return float((Decimal(pence) / _A_POUND).quantize(_LEAST, ROUND_HALF_UP))


def old_money(numbers: Sequence[Number], text: str) -> list[Number]:
    """The amounts in pounds, shillings and pence that the numbers of a text make, in order of where they start."""
    if _HINT.search(text) is None:
        return []
    amounts = [
        Number(
            match.start(),
            match.end(),
            in_pounds(int(match["l"]) * _A_POUND + int(match["s"]) * _A_SHILLING + int(match["d"])),
            STERLING,
            composite=True,
        )
        for match in _SHORT.finditer(text)
    ]
    reach, taken = 0, {place for amount in amounts for place in range(amount.start, amount.end)}
    simple = [number for number in numbers if not number.composite and not number.ordinal and 0 <= number.value < _MOST]
    for place, number in enumerate(simple):
        if number.start >= reach and number.start not in taken and (found := _amount(simple, place, text)) is not None:
            amounts.append(found)
            reach = found.end
    return sorted(amounts, key=lambda amount: amount.start)


def _amount(numbers: Sequence[Number], place: int, text: str) -> Number | None:
    """The amount that begins with a number; None where it is none, or one of whole pounds."""
    first = numbers[place]
    guineas = _GUINEAS.match(text, first.end)
    if guineas is not None:
        return Number(first.start, guineas.end(), in_pounds(_pence(first, _A_GUINEA)), STERLING, composite=True)
    sign = _SIGN.search(text, max(0, first.start - 2), first.start)
    start, end, following, named = first.start, first.end, place, False
    total = Decimal(0)
    pounds = None if sign else _POUNDS.match(text, end)
    if sign is not None or pounds is not None:
        start, end = (sign.start() if sign else start), (pounds.end() if pounds else end)
        total, following = _pence(first, _A_POUND), place + 1
    for unit, factor in ((_SHILLINGS, _A_SHILLING), (_PENCE, 1)):
        number = numbers[following] if following < len(numbers) else None
        opens = following == place
        if number is None or not (opens or _GAP.fullmatch(text, end, number.start)):
            break
        said = unit.match(text, number.end)
        if said is None:
            continue
        total, end, following = total + _pence(number, factor), said.end(), following + 1
        # "5s" alone is five seconds; shillings they are beside pounds or pence, or where they are called so.
        named = named or not opens or said["plain"] is not None
    word = _PENCE_WORD.match(text, end) if end > first.end else None
    if word is not None:
        total, end, named = total + _ONE_WORD[word["word"].lower()], word.end(), True
    return Number(start, end, in_pounds(total), STERLING, composite=True) if named and end > first.end else None


def _pence(number: Number, factor: int) -> Decimal:
    return Decimal(repr(number.value)) * factor
