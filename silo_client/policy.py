"""The silo's own policy: what may leave, to whom, for what, and at what cost.

The policy file lies on the silo's disk and is the only source of every limit: an offer can ask for less, and
nothing that arrives from outside can ask for more. Unknown keys are refused, so that a misspelt limit cannot be
silently without effect.

::

    version = 1
    data_set = "patients of cleveland"      # the owner's name for the records: the ledger's account
    schemas = ["<hex SHA-256>"]
    providers = ["provider"]
    purposes = ["answer-questions"]
    architectures = ["thermometer_linear/v1"]

    [privacy]
    record_bound = 1000       # public: the data set never has more records than this
    release_epsilon = 1.0     # most that one release may cost
    lifetime_epsilon = 3.0    # most that all releases together may cost, ever
    delta = 1e-4              # of both; below 1 / record_bound
"""

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ConfigError, PolicyError
from llamdex_fl.privacy import Budget
from llamdex_fl.release import Offer
from llamdex_fl.schema import Schema

__all__ = ["DEFAULT_PURPOSE", "Authorisation", "Policy", "authorise", "load_policy"]

#: What an expert is for in this version: to be plugged into an LLM that answers questions.
DEFAULT_PURPOSE = "answer-questions"

_LISTS = ("schemas", "providers", "purposes", "architectures")
_NUMBERS = ("release_epsilon", "lifetime_epsilon", "delta")
_KEYS = {"version", "data_set", "privacy", *_LISTS}
_PRIVACY_KEYS = {"record_bound", *_NUMBERS}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 1 << 20
_VERSION = 1
#: Above this an epsilon promises nothing, so a policy that says more was mistyped.
_LARGEST_EPSILON = 64.0
_LARGEST_BOUND = 10**12


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A policy file's content; see the module's docstring."""

    data_set: str
    schemas: tuple[str, ...]
    providers: tuple[str, ...]
    purposes: tuple[str, ...]
    architectures: tuple[str, ...]
    record_bound: int
    release_epsilon: float
    lifetime_epsilon: float
    delta: float

    @property
    def budget(self) -> Budget:
        """What all releases may cost together."""
        return Budget(epsilon=self.lifetime_epsilon, delta=self.delta)


@dataclass(frozen=True, kw_only=True, slots=True)
class Authorisation:
    """An offer that the policy allows. Only ``authorise`` makes one, and only with one may a training start."""

    offer: Offer
    data_set: str
    budget: Budget
    record_bound: int


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        ConfigError: the file is missing, is not TOML, or has a wrong, missing or unknown key.
    """
    try:
        if not path.is_file():
            raise _wrong(path, "a policy file", "nothing", "make one with: llamdex-silo init")
        if path.stat().st_size > _MAX_BYTES:
            raise _wrong(path, f"at most {_MAX_BYTES} bytes", f"{path.stat().st_size} bytes")
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, "a file that this user may read", error.strerror or type(error).__name__) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(path, "TOML", str(error)) from error
    _require_keys(path, document, _KEYS, "the file")
    if document["version"] != _VERSION or isinstance(document["version"], bool):
        raise _wrong(path, f"version = {_VERSION}", str(document["version"]))
    privacy = document["privacy"]
    if not isinstance(privacy, dict):
        raise _wrong(path, "a table [privacy]", type(privacy).__name__)
    _require_keys(path, privacy, _PRIVACY_KEYS, "[privacy]")
    if not isinstance(document["data_set"], str) or not document["data_set"].strip():
        raise _wrong(path, "data_set: the owner's name for the records", repr(document["data_set"]))
    lists = {key: _texts(path, key, document[key]) for key in _LISTS}
    if not all(_DIGEST.fullmatch(digest) for digest in lists["schemas"]):
        raise _wrong(path, "schemas: hex SHA-256 digests in small letters", ", ".join(lists["schemas"]))
    numbers = {key: _number(path, key, privacy[key]) for key in _NUMBERS}
    bound = privacy["record_bound"]
    if isinstance(bound, bool) or not isinstance(bound, int) or not 1 <= bound <= _LARGEST_BOUND:
        raise _wrong(path, f"record_bound: a whole number from 1 to {_LARGEST_BOUND}", repr(bound)[:80])
    policy = Policy(data_set=document["data_set"], record_bound=bound, **lists, **numbers)  # type: ignore[arg-type] # the keys are checked above
    _require_sense(path, policy)
    return policy


def authorise(offer: Offer, policy: Policy, schema: Schema) -> Authorisation:
    """Let an offer through, or say what the policy has against it.

    Args:
        offer: what the provider asks for.
        policy: from the silo's own disk.
        schema: the schema of the silo's data file.

    Returns:
        The proof that the offer was allowed, which training needs.

    Raises:
        PolicyError: the policy does not allow this offer.
    """
    for what, asked, allowed in (
        ("provider", offer.provider, policy.providers),
        ("purpose", offer.purpose, policy.purposes),
        ("architecture", offer.architecture, policy.architectures),
        ("schema", offer.schema_digest, policy.schemas),
    ):
        if asked not in allowed:
            raise _refused(f"It does not list this {what}.", ", ".join(allowed), asked)
    if offer.schema_digest != schema.digest():
        raise _refused("This silo's records follow another schema.", schema.digest(), offer.schema_digest)
    if not 0.0 < offer.epsilon <= policy.release_epsilon:
        raise _refused(
            "The release would cost too much.", f"epsilon of at most {policy.release_epsilon:g}", f"{offer.epsilon:g}"
        )
    if not 0.0 < offer.delta <= policy.delta:
        raise _refused("The release's delta is too large.", f"delta of at most {policy.delta:g}", f"{offer.delta:g}")
    return Authorisation(offer=offer, data_set=policy.data_set, budget=policy.budget, record_bound=policy.record_bound)


def _require_sense(path: Path, policy: Policy) -> None:
    if policy.delta * policy.record_bound >= 1.0:
        # With delta of 1/n, publishing one record of n in the clear would be "private".
        raise _wrong(path, f"delta below 1 / record_bound = {1.0 / policy.record_bound:g}", f"{policy.delta:g}")
    if not policy.release_epsilon <= policy.lifetime_epsilon <= _LARGEST_EPSILON:
        raise _wrong(
            path,
            f"release_epsilon at most lifetime_epsilon, and that at most {_LARGEST_EPSILON:g}",
            f"{policy.release_epsilon:g} and {policy.lifetime_epsilon:g}",
        )


def _require_keys(path: Path, table: dict[str, Any], keys: set[str], place: str) -> None:
    if set(table) != keys:
        raise _wrong(
            path,
            f"in {place} the keys {', '.join(sorted(keys))}",
            f"missing: {sorted(keys - set(table))}, unknown: {sorted(set(table) - keys)}",
        )


def _texts(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
        raise _wrong(path, f"{key}: a list of at least one text", repr(value))
    return tuple(value)


def _number(path: Path, key: str, value: object) -> float:
    # Compared before it is converted: TOML's integers may be too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise _wrong(path, f"{key}: a number above 0", repr(value)[:80])
    return float(value)


def _wrong(path: Path, expected: str, got: str, next_step: str = "mend the file") -> ConfigError:
    return ConfigError(f"{path} is no usable policy.", expected=expected, got=got, next_step=next_step)


def _refused(reason: str, expected: str, got: str) -> PolicyError:
    return PolicyError(
        f"The silo's policy does not allow this offer. {reason}",
        expected=expected,
        got=got[:200],
        next_step="change the offer, or policy.toml if the data's owner agrees",
    )
