"""What the daemon does with an offer, from the policy on disk to the provider's receipt.

Order, and no step before the one above it: known job? -> policy -> records -> the ledger against the provider's log
-> ledger -> training -> sealing and upload -> receipt. Each fault becomes a code; what it was stands in the silo's own
log.
"""

import importlib
import logging
import os
import sys
import threading

from llamdex_fl.envelope import Passphrase, Receipt
from llamdex_fl.errors import (
    BudgetSpentError,
    ChannelError,
    ConfigError,
    InputError,
    KeyringError,
    LedgerBehindError,
    PolicyError,
    ProviderIdentityError,
    ProviderUnreachableError,
    RecordError,
    SchemaError,
)
from llamdex_fl.privacy import Ledger
from llamdex_fl.release import Offer
from llamdex_fl.rounds import PUBLIC_TEXT, Answer, guarantee_to_text
from llamdex_fl.schema import load_schema
from silo_client import uplink
from silo_client.config import SiloConfig
from silo_client.daemon_protocol import Reply
from silo_client.data import read_records
from silo_client.jobs import Job, JobState, JobStore
from silo_client.ledger_check import require_whole_ledger
from silo_client.policy import authorise, load_policy

__all__ = ["SiloWorker", "answer_for"]

_WARM_UP_NICENESS = 10

#: From the narrow to the wide: the first class that fits names the code.
_CODES: tuple[tuple[type[Exception], Answer], ...] = (
    (BudgetSpentError, Answer.BUDGET_SPENT),
    (PolicyError, Answer.POLICY_REFUSED),
    (RecordError, Answer.DATA_INVALID),
    (ProviderUnreachableError, Answer.PROVIDER_UNREACHABLE),
    (ProviderIdentityError, Answer.PROVIDER_IDENTITY),
    (KeyringError, Answer.PROVIDER_IDENTITY),
    (ChannelError, Answer.PROVIDER_REFUSED),
    (ConfigError, Answer.SILO_MISCONFIGURED),
    (LedgerBehindError, Answer.SILO_MISCONFIGURED),
    (SchemaError, Answer.SILO_MISCONFIGURED),
    (InputError, Answer.BAD_REQUEST),
)


def answer_for(error: Exception) -> Answer:
    """The code that leaves the silo for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Answer.INTERNAL)


class SiloWorker:
    """The silo of one home. Policy and schema are read again for each offer, so a change on disk counts at once."""

    def __init__(
        self,
        config: SiloConfig,
        log: logging.Logger,
        *,
        upload_deadline_s: float = 600.0,
        passphrase: Passphrase | None = None,
    ) -> None:
        """Open the job store; ``passphrase`` is of the silo's private keys."""
        self._passphrase = passphrase
        self._config = config
        self._log = log
        self._jobs = JobStore(config.home / "jobs.sqlite")
        self._upload_deadline_s = upload_deadline_s

    def warm_up(self) -> None:
        """Load the trainer, so that the first round does not wait for it. Meant for a thread of its own.

        The thread yields to whatever else the machine has to do.
        """
        if sys.platform == "linux":  # elsewhere this would slow the whole process down
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _WARM_UP_NICENESS)
        importlib.import_module("silo_client.training")

    def consider(self, offer: Offer) -> Reply:
        """Would the policy allow this offer?"""
        try:
            authorise(offer, load_policy(self._config.policy), load_schema(self._config.schema))
        except Exception as error:  # noqa: BLE001 - every fault becomes a code here
            return self._fault(offer, error)
        return self._reply(offer, Answer.ACCEPTED)

    def train_and_upload(self, offer: Offer) -> Reply:
        """Authorise, train and send; the same round again gives the same receipt."""
        try:
            return self._work(offer)
        except Exception as error:  # noqa: BLE001 - every fault becomes a code here
            return self._fault(offer, error)

    def _work(self, offer: Offer) -> Reply:
        job = self._jobs.find(offer)
        if job is not None and job.state is JobState.DONE and job.facts is not None:
            return Reply(answer=Answer.DONE, facts=job.facts)
        receipt = self._go_on(job)
        if receipt is not None and job is not None and job.guarantee is not None:
            return self._finish(offer, receipt, job.guarantee)
        schema = load_schema(self._config.schema)
        authorisation = authorise(offer, load_policy(self._config.policy), schema)
        data = read_records(self._config.data, schema)
        require_whole_ledger(self._config, deadline_s=self._upload_deadline_s, passphrase=self._passphrase)
        from silo_client import training  # noqa: PLC0415 - takes seconds to import, see warm_up

        self._jobs.accept(offer)
        release = training.train(schema, data, authorisation, Ledger(self._config.ledger))
        guarantee = guarantee_to_text(release.guarantee)
        # On disk before the first byte leaves: from here on a crash resumes the upload and never trains again.
        uplink.keep(release, offer, self._config)
        self._jobs.trained(offer.challenge, guarantee)
        receipt = uplink.upload(
            release, offer, self._config, deadline_s=self._upload_deadline_s, passphrase=self._passphrase
        )
        return self._finish(offer, receipt, guarantee)

    def _go_on(self, job: Job | None) -> Receipt | None:
        if job is None or job.state is not JobState.TRAINED:
            return None
        self._log.info("round %s: going on with the upload", job.challenge[:12])
        return uplink.resume(
            self._config, job.challenge, deadline_s=self._upload_deadline_s, passphrase=self._passphrase
        )

    def _finish(self, offer: Offer, receipt: Receipt, guarantee: str) -> Reply:
        facts = {
            "receipt_id": receipt.receipt_id,
            "artefact_digest": receipt.body.artefact_digest,
            "guarantee": guarantee,
        }
        self._jobs.done(offer.challenge, facts)
        self._log.info("round %s: done, receipt %s", offer.challenge[:12], receipt.receipt_id)
        return Reply(answer=Answer.DONE, facts=facts)

    def _reply(self, offer: Offer, answer: Answer) -> Reply:
        self._log.info("round %s: %s", offer.challenge[:12], PUBLIC_TEXT[answer])
        return Reply(answer=answer)

    def _fault(self, offer: Offer, error: Exception) -> Reply:
        answer = answer_for(error)
        trace = error if answer is Answer.INTERNAL else None
        self._log.error("round %s: %s %s", offer.challenge[:12], PUBLIC_TEXT[answer], error, exc_info=trace)
        return Reply(answer=answer)
