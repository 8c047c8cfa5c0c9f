"""Which code leaves a silo for which error."""

import pytest

from llamdex_fl import errors
from llamdex_fl.rounds import Answer
from silo_client.work import answer_for

CODES = {
    "BudgetSpentError": Answer.BUDGET_SPENT,
    "PolicyError": Answer.POLICY_REFUSED,
    "RecordError": Answer.DATA_INVALID,
    "ProviderUnreachableError": Answer.PROVIDER_UNREACHABLE,
    "ProviderIdentityError": Answer.PROVIDER_IDENTITY,
    "KeyringError": Answer.PROVIDER_IDENTITY,
    "EnvelopeError": Answer.PROVIDER_REFUSED,
    "ReceiptError": Answer.PROVIDER_REFUSED,
    "ChannelError": Answer.PROVIDER_REFUSED,
    "ConfigError": Answer.SILO_MISCONFIGURED,
    "SchemaError": Answer.SILO_MISCONFIGURED,
    "InputError": Answer.BAD_REQUEST,
    "LedgerBehindError": Answer.SILO_MISCONFIGURED,
    "LedgerError": Answer.INTERNAL,
    "LlamdexError": Answer.INTERNAL,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_error_has_its_code(name: str, code: Answer):
    kind: type[errors.LlamdexError] = getattr(errors, name)
    assert answer_for(kind("p", expected="e", got="g", next_step="n")) is code


def test_an_unforeseen_error_is_internal():
    assert answer_for(ValueError("row 17")) is Answer.INTERNAL
