"""The words of a round: what a provider and a silo say to each other through the control plane.

A round has two questions. ``offer``: would you? ``train``: do. Each is answered by one *outcome*, a code of
``Answer`` and, when an expert was sent, three facts about it (``FACTS``). Nothing else travels: no free text, so
no exception, path or record can leave a silo by this road. The weights go by the upload channel.

The words are frozen: one may be added, none may change its meaning, and an unknown one is refused.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from llamdex_fl.errors import InputError

if TYPE_CHECKING:
    # Only at need: a ClientApp's process starts for every message, and these bring numpy and an accountant.
    from llamdex_fl.privacy.guarantee import Guarantee
    from llamdex_fl.release import Offer

__all__ = [
    "FACTS",
    "OFFER_FIELDS",
    "OFFER_RECORD",
    "OUTCOME_RECORD",
    "PUBLIC_TEXT",
    "TRANSIENT",
    "Answer",
    "check_facts",
    "check_offer",
    "guarantee_to_text",
    "offer_from_text",
    "offer_to_text",
]

#: Name of the record that carries an offer, and of the one that carries the outcome.
OFFER_RECORD = "offer"
OUTCOME_RECORD = "outcome"
#: All that a silo says about an expert that it sent; the values are texts.
FACTS = ("receipt_id", "artefact_digest", "guarantee")

_MAX_GUARANTEE_CHARACTERS = 8192


class Answer(StrEnum):
    """The code that answers a question of a round."""

    ACCEPTED = "ACCEPTED"
    DONE = "DONE"
    POLICY_REFUSED = "POLICY_REFUSED"
    BUDGET_SPENT = "BUDGET_SPENT"
    DATA_INVALID = "DATA_INVALID"
    BAD_REQUEST = "BAD_REQUEST"
    BUSY = "BUSY"
    PROVIDER_UNREACHABLE = "PROVIDER_UNREACHABLE"
    PROVIDER_IDENTITY = "PROVIDER_IDENTITY"
    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    SILO_MISCONFIGURED = "SILO_MISCONFIGURED"
    DAEMON_UNREACHABLE = "DAEMON_UNREACHABLE"
    INTERNAL = "INTERNAL"


#: The one text that goes with each code, for people.
PUBLIC_TEXT: Mapping[Answer, str] = MappingProxyType(
    {
        Answer.ACCEPTED: "The silo's policy allows the offer.",
        Answer.DONE: "An expert was trained and sent; the provider gave a receipt.",
        Answer.POLICY_REFUSED: "The silo's policy does not allow the offer.",
        Answer.BUDGET_SPENT: "The silo's privacy budget does not reach for the offer.",
        Answer.DATA_INVALID: "The silo's data file does not follow the schema; its own log says where.",
        Answer.BAD_REQUEST: "The question was not well formed.",
        Answer.BUSY: "The silo works on another round; ask again later.",
        Answer.PROVIDER_UNREACHABLE: "The silo could not reach the provider's upload service; ask again later.",
        Answer.PROVIDER_IDENTITY: "The upload service is not who the silo's keyring says.",
        Answer.PROVIDER_REFUSED: "The upload service refused the envelope; the silo's own log says why.",
        Answer.SILO_MISCONFIGURED: "The silo's own configuration is not usable; its own log says why.",
        Answer.DAEMON_UNREACHABLE: "The silo's daemon does not answer; ask again later.",
        Answer.INTERNAL: "The silo failed; its own log says why.",
    }
)
#: Codes after which the same question may be asked again.
TRANSIENT = frozenset({Answer.BUSY, Answer.PROVIDER_UNREACHABLE, Answer.DAEMON_UNREACHABLE})

_DIGEST = r"[0-9a-f]{64}"
_WORD = r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}"
# Plain decimals: a float's text differs between languages, and this one is compared and signed further on.
_DECIMAL = r"[0-9]{1,9}(\.[0-9]{1,30})?"
#: The fields of an offer on its way, and the form of each.
OFFER_FIELDS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "provider": re.compile(_WORD),
        "purpose": re.compile(_WORD),
        "schema_digest": re.compile(_DIGEST),
        "architecture": re.compile(_WORD),
        "base_model_digest": re.compile(_DIGEST),
        "epsilon": re.compile(_DECIMAL),
        "delta": re.compile(_DECIMAL),
        "challenge": re.compile(_DIGEST),
    }
)
_FACT_FORMS = {
    "receipt_id": re.compile(r"[0-9a-f]{16,128}"),
    "artefact_digest": re.compile(_DIGEST),
    "guarantee": re.compile(rf"[\x20-\x7e]{{2,{_MAX_GUARANTEE_CHARACTERS}}}"),
}


def offer_to_text(offer: "Offer") -> dict[str, str]:
    """The fields of ``offer`` as texts, numbers as plain decimals."""
    return {name: str(_plain(getattr(offer, name))) for name in OFFER_FIELDS}


def guarantee_to_text(guarantee: "Guarantee") -> str:
    """One line of JSON, the same for the same guarantee: sorted keys, numbers with a fraction as decimal texts."""
    return json.dumps(_plain(asdict(guarantee)), sort_keys=True, separators=(",", ":"))


def offer_from_text(fields: Mapping[str, object]) -> "Offer":
    """Read an offer that came from outside.

    Raises:
        InputError: a field is missing, unknown, or not of its form; the message names the field, never its value.
    """
    from llamdex_fl.release import Offer  # noqa: PLC0415 - see above

    texts = check_offer(fields)
    epsilon, delta = float(texts.pop("epsilon")), float(texts.pop("delta"))
    if not (epsilon > 0 and 0 < delta < 1):
        raise InputError(
            "This is no offer.",
            expected="epsilon above 0 and delta between 0 and 1",
            got="other numbers",
            next_step="mend the offer's numbers",
        )
    return Offer(epsilon=epsilon, delta=delta, **texts)


def check_offer(fields: Mapping[str, object]) -> dict[str, str]:
    """The fields of an offer, checked for their form only.

    Raises:
        InputError: a field is missing, unknown, or not of its form.
    """
    return _match(fields, OFFER_FIELDS, "offer")


def check_facts(facts: Mapping[str, object]) -> dict[str, str]:
    """The three facts about a sent expert, checked for their form.

    Raises:
        InputError: a fact is missing, unknown, or not of its form.
    """
    return _match(facts, _FACT_FORMS, "outcome")


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else value


def _match(fields: Mapping[str, object], forms: Mapping[str, re.Pattern[str]], what: str) -> dict[str, str]:
    if set(fields) != set(forms):
        raise InputError(
            f"This {what} does not have the right fields.",
            expected=", ".join(forms),
            got=f"{len(set(forms) - set(fields))} missing, {len(set(fields) - set(forms))} unknown",
            next_step="use the same version of Llamdex FL at both ends",
        )
    texts: dict[str, str] = {}
    for name, form in forms.items():
        value = fields[name]
        if not isinstance(value, str) or not form.fullmatch(value):
            raise InputError(
                f"The field {name} of this {what} is not well formed.",
                expected=f"a text of the form {form.pattern}",
                got="something else",
                next_step="use the same version of Llamdex FL at both ends",
            )
        texts[name] = value
    return texts
