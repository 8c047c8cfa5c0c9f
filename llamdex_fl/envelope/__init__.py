"""Seal, sign, open, keys, receipts: the only importer of ``cryptography``.

Here: everything that must be secret or must be believed, as pure functions and values over bytes and files. Not
here: sockets, messages (``llamdex_fl.wire``), databases (``provider_server.registry``). Specified in
docs/envelope.md.
"""

from llamdex_fl.envelope.certificates import (
    ca_digests,
    certificate_request,
    issue_ca,
    issue_provider,
    issue_silo,
    issuing_ca,
    provider_name,
    renew_silo,
    request_is_for,
    require_certificate,
    silo_uri,
    spki_digest,
)
from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.enrolment import EnrolmentReply, EnrolmentRequest
from llamdex_fl.envelope.invitation import Invitation, InvitationProof
from llamdex_fl.envelope.keyring import (
    FormerKeys,
    Keyring,
    Member,
    ProviderEntry,
    load_keyring,
    read_keyring,
)
from llamdex_fl.envelope.keystore import (
    Passphrase,
    generate_tls_key,
    is_encrypted,
    load_recipient_key,
    load_signing_key,
    load_tls_key,
    pem_passphrase,
    save_recipient_key,
    save_signing_key,
    save_tls_key,
    tls_key_pem,
    write_atomically,
)
from llamdex_fl.envelope.log_entry import LogNote, read_log_entry
from llamdex_fl.envelope.receipt import Receipt, ReceiptBody, TreeHead, verify_receipt, verify_successor
from llamdex_fl.envelope.refusal import Answer, DocumentError, RefusedError
from llamdex_fl.envelope.root import Root, load_root, read_root
from llamdex_fl.envelope.sealed_file import SealedFile, Sealing
from llamdex_fl.envelope.sealing import ChunkOpener, SealOrder, seal, start_sealing, verify_statement
from llamdex_fl.envelope.session import Chunk, Committed, Header, Progress, Session, Wish
from llamdex_fl.envelope.signing import Signature, SigningKey, VerifyKey
from llamdex_fl.envelope.statement import Statement, guarantee_document, guarantee_from_document
from llamdex_fl.envelope.suite import CHUNK_SIZE, SUITE, TAG_SIZE, RecipientKey, RecipientPublicKey
from llamdex_fl.envelope.trust import changing_trust, read_trust, write_trust

__all__ = [
    "CHUNK_SIZE",
    "SUITE",
    "TAG_SIZE",
    "Answer",
    "Chunk",
    "ChunkOpener",
    "Committed",
    "DocumentError",
    "EnrolmentReply",
    "EnrolmentRequest",
    "FormerKeys",
    "Header",
    "Invitation",
    "InvitationProof",
    "Keyring",
    "LogNote",
    "Member",
    "Passphrase",
    "Progress",
    "ProviderEntry",
    "Receipt",
    "ReceiptBody",
    "RecipientKey",
    "RecipientPublicKey",
    "RefusedError",
    "Root",
    "SealOrder",
    "SealedFile",
    "Sealing",
    "Session",
    "Signature",
    "SignedEnvelope",
    "SigningKey",
    "Statement",
    "TreeHead",
    "VerifyKey",
    "Wish",
    "ca_digests",
    "certificate_request",
    "changing_trust",
    "generate_tls_key",
    "guarantee_document",
    "guarantee_from_document",
    "is_encrypted",
    "issue_ca",
    "issue_provider",
    "issue_silo",
    "issuing_ca",
    "load_keyring",
    "load_recipient_key",
    "load_root",
    "load_signing_key",
    "load_tls_key",
    "pem_passphrase",
    "provider_name",
    "read_keyring",
    "read_log_entry",
    "read_root",
    "read_trust",
    "renew_silo",
    "request_is_for",
    "require_certificate",
    "save_recipient_key",
    "save_signing_key",
    "save_tls_key",
    "seal",
    "sign",
    "silo_uri",
    "spki_digest",
    "start_sealing",
    "tls_key_pem",
    "verify_receipt",
    "verify_statement",
    "verify_successor",
    "write_atomically",
    "write_trust",
]
