"""Is the ledger the newest one? The provider's log remembers every release that this silo made.

A ledger that was restored from a backup, or begun anew, has forgotten what was spent since, and would let it be spent
again. Each run is in the ledger under the challenge of its round before a record is read, and each release is in the
provider's log under the same challenge, in a tree that only grows. So a release in the log whose round the ledger does
not know tells that the ledger went back. Runs that ended without a release are in no log: only the newest backup has
them.
"""

import time
from collections.abc import Sequence

from llamdex_fl.envelope import Passphrase
from llamdex_fl.errors import LedgerBehindError, ProviderUnreachableError
from llamdex_fl.privacy import DataSetId, Ledger, LedgerEntry, Spending
from silo_client.config import SiloConfig
from silo_client.log_check import LogReport, ReleaseEntry, verify_log

__all__ = ["lost_releases", "recover", "require_whole_ledger"]

_PAUSE_SECONDS = 1.0


def require_whole_ledger(config: SiloConfig, *, deadline_s: float, passphrase: Passphrase | None = None) -> None:
    """Before a training: read and verify the provider's log, and compare the ledger with it.

    Args:
        config: the silo's.
        deadline_s: for how long an absent provider is asked again.
        passphrase: of the silo's private keys.

    Raises:
        LedgerBehindError: the log has releases of this silo that the ledger does not know.
        ReceiptError: the log does not verify.
        ProviderUnreachableError, ProviderIdentityError, KeyringError, RefusedError: the log cannot be read; without
            it nothing is trained, and so nothing is spent.
    """
    ends_at = time.monotonic() + deadline_s
    while True:
        try:
            report = verify_log(config, passphrase)
            break
        except ProviderUnreachableError:
            if time.monotonic() + _PAUSE_SECONDS > ends_at:
                raise
            time.sleep(_PAUSE_SECONDS)
    lost = lost_releases(report, Ledger(config.ledger).entries(), config.silo)
    if lost:
        raise LedgerBehindError(
            f"The ledger {config.ledger} does not know all that this silo has released: it was restored from a backup, "
            "or begun anew.",
            expected=f"an entry for each of this silo's releases in the provider's log (tree size {report.head.size})",
            got=f"none for {len(lost)} of them, the first accepted {lost[0].body.accepted_at:%Y-%m-%d}",
            next_step="restore the newest backup of the ledger; if there is none, enter what the log has with: "
            "llamdex-silo ledger HOME --recover",
        )


def lost_releases(report: LogReport, entries: Sequence[LedgerEntry], silo: str) -> list[ReleaseEntry]:
    """A silo's releases in a verified log whose rounds are not in its ledger, in the order of the log."""
    known = {entry.spending.reference for entry in entries}
    return [
        entry
        for entry in report.entries
        if isinstance(entry, ReleaseEntry) and entry.body.silo == silo and entry.body.round_challenge not in known
    ]


def recover(config: SiloConfig, data_set: DataSetId, passphrase: Passphrase | None = None) -> int:
    """Enter in the ledger what the provider's log has and the ledger lacks.

    The mechanisms are those of the statements that this silo signed. Once they are entered they count like any other
    entry, whether or not the lifetime budget reaches for them.

    Args:
        config: the silo's.
        data_set: the records that the silo has now; what was released before is taken to be about the same people.
        passphrase: of the silo's private keys.

    Returns:
        How many entries were made.

    Raises:
        ReceiptError: the log does not verify; nothing was entered.
        LedgerError: the ledger cannot be used.
        ProviderUnreachableError, ProviderIdentityError, KeyringError, RefusedError: the log cannot be read.
    """
    ledger = Ledger(config.ledger)
    lost = lost_releases(verify_log(config, passphrase), ledger.entries(), config.silo)
    for entry in lost:
        ledger.recover(
            Spending(
                data_set=data_set,
                mechanisms=entry.statement.guarantee.mechanisms,
                purpose=entry.statement.purpose,
                schema_digest=entry.statement.schema_digest,
                reference=entry.body.round_challenge,
            )
        )
    return len(lost)
