"""Every error that Llamdex FL raises on purpose, drawn as one tree.

::

    LlamdexError                      exit code 1, "ours" unless a subclass says otherwise
    ├── InputError (ValueError)       exit code 2: mend what you gave us
    │   ├── ConfigError               a configuration file, option or path
    │   │   └── CertificateError      a certificate that TLS cannot show: damaged, expired, or another key's
    │   ├── SchemaError               a schema file
    │   ├── RecordError               a silo's data file
    │   ├── QuestionError             a file of questions, or a question
    │   ├── InvitationError           an invitation that is used, expired, or another silo's
    │   └── PortInUseError            an address that another process holds
    ├── PolicyError                   exit code 2: the silo's own policy says no
    │   ├── BudgetSpentError          the privacy budget does not reach
    │   └── EstimateRefusedError      an estimate of epsilon was to authorise a run
    ├── WeightsError (ValueError)     exit code 2: bytes that are not the tensors they should be
    │   └── WeightsLimitError         more bytes, tensors or metadata than allowed
    ├── ChannelError                  the upload channel
    │   ├── ProviderUnreachableError  the provider is down: start again later, nothing is lost
    │   ├── ProviderIdentityError     exit code 2: the other end is not who the keyring says
    │   ├── KeyringError              exit code 2: keyring forged, rolled back, expired
    │   ├── EnvelopeError             an envelope that must be refused (see llamdex_fl.envelope)
    │   └── ReceiptError              a receipt or log proof that does not verify
    ├── LedgerError                   the ledger of DP events cannot be read or written
    │   └── LedgerBehindError         exit code 2: it was restored from a backup, or begun anew
    ├── AccountantsDisagreeError      two accountants contradict each other: no guarantee is given
    ├── ArtefactError                 a stored model, connector or registry entry is missing or damaged
    ├── ProcessError                  a process that we started did not do its work
    ├── SystemRefusedError            the operating system refused: a full disk, a lost connection to it
    ├── AuditError                    an audit from outside contradicts a guarantee that we claim
    └── InternalError                 a bug of ours; its text is not shown, since it may speak of records

The message always says what was expected, what was got, and the next step. Errors that are caused by private
records name a row and a column, never a value: an error text may be read outside the silo.
"""

from typing import ClassVar

__all__ = [
    "AccountantsDisagreeError",
    "ArtefactError",
    "AuditError",
    "BudgetSpentError",
    "CertificateError",
    "ChannelError",
    "ConfigError",
    "EnvelopeError",
    "EstimateRefusedError",
    "InputError",
    "InternalError",
    "InvitationError",
    "KeyringError",
    "LedgerBehindError",
    "LedgerError",
    "LlamdexError",
    "PolicyError",
    "PortInUseError",
    "ProcessError",
    "ProviderIdentityError",
    "ProviderUnreachableError",
    "QuestionError",
    "ReceiptError",
    "RecordError",
    "SchemaError",
    "SystemRefusedError",
    "WeightsError",
    "WeightsLimitError",
]


class LlamdexError(Exception):
    """Base of the tree.

    Args:
        problem: one sentence on what went wrong.
        expected: what would have been right.
        got: what was there instead (never a private value).
        next_step: what the reader should do now.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, expected: str, got: str, next_step: str) -> None:
        """Keep the four parts apart, so that a program can read them too."""
        self.problem = problem
        self.expected = expected
        self.got = got
        self.next_step = next_step
        super().__init__(f"{problem} Expected: {expected}. Got: {got}. Next step: {next_step}")

    def as_dict(self) -> dict[str, str]:
        """The parts for ``--json`` output."""
        return {
            "error": type(self).__name__,
            "problem": self.problem,
            "expected": self.expected,
            "got": self.got,
            "next_step": self.next_step,
        }


class InputError(LlamdexError, ValueError):
    """Something the caller gave is not usable."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file, option or path is not usable."""


class CertificateError(ConfigError):
    """A certificate cannot be shown: it is damaged or expired, or it is not its private key's."""


class SchemaError(InputError):
    """A schema does not describe a domain."""


class RecordError(InputError):
    """A data file of a silo breaks its schema."""


class QuestionError(InputError):
    """A question, or a file of questions, is not usable."""


class InvitationError(InputError):
    """An invitation to a consortium is used, expired, another silo's, or not one of this provider's."""


class PortInUseError(InputError):
    """An address that is needed is held by another process."""


class PolicyError(LlamdexError):
    """The policy file on the silo's own disk refuses."""

    exit_code = 2


class BudgetSpentError(PolicyError):
    """The lifetime privacy budget of a data set does not reach for what was asked."""


class EstimateRefusedError(PolicyError):
    """An estimate of epsilon, which may be below the truth, was to authorise a run."""


class WeightsError(LlamdexError, ValueError):
    """Bytes that are not the tensors they should be."""

    exit_code = 2


class WeightsLimitError(WeightsError):
    """More bytes, tensors or metadata than the limits allow."""


class ChannelError(LlamdexError):
    """The upload channel failed."""


class ProviderUnreachableError(ChannelError):
    """The provider does not answer."""


class ProviderIdentityError(ChannelError):
    """The other end is not who the keyring says."""

    exit_code = 2


class KeyringError(ChannelError):
    """A keyring is forged, rolled back or expired."""

    exit_code = 2


class EnvelopeError(ChannelError):
    """An envelope must be refused."""


class ReceiptError(ChannelError):
    """A receipt or a log proof does not verify."""


class LedgerError(LlamdexError):
    """The ledger of DP events cannot be read or written."""


class LedgerBehindError(LedgerError):
    """The ledger lacks what the provider's log knows: it was restored from a backup, or begun anew."""

    exit_code = 2


class AccountantsDisagreeError(LlamdexError):
    """Two accountants contradict each other, so that at least one of them is broken here."""


class ArtefactError(LlamdexError):
    """A stored model, connector or registry entry is missing or damaged."""


class ProcessError(LlamdexError):
    """A process that we started did not do its work."""


class SystemRefusedError(LlamdexError):
    """The operating system refused something that only it can give, such as room on a disk."""


class AuditError(LlamdexError):
    """An audit from outside contradicts a guarantee that we claim."""


class InternalError(LlamdexError):
    """A bug of ours."""
