"""Which accepted experts may speak now: reviewed, not withdrawn, and of a silo whose keys nobody revoked.

Asked whenever a question is put, not only when an expert takes its seat: a revocation counts at once.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from llamdex_fl.envelope import Keyring, RefusedError, read_trust
from provider_server.config import ProviderConfig
from provider_server.keyring_writer import require_unexpired
from provider_server.registry import Registry, ReleaseRecord

__all__ = ["speaking_releases", "unrevoked"]


def unrevoked(records: Iterable[ReleaseRecord], registry: Registry, keyring: Keyring) -> list[ReleaseRecord]:
    """The releases whose silo is enrolled, and whose own signing key is not revoked."""
    revoked = set(keyring.revoked)

    def good(record: ReleaseRecord) -> bool:
        with suppress(RefusedError):
            keyring.member(record.silo)
            return not registry.accepted.signers(record.release_id) & revoked
        return False

    return [record for record in records if good(record)]


def speaking_releases(
    config: ProviderConfig, registry: Registry, schema_digest: str | None = None
) -> list[ReleaseRecord]:
    """The releases that may speak, in the order of the log, as the registry and the keyring say now.

    Args:
        config: the provider's.
        registry: its registry.
        schema_digest: of this schema only.

    Raises:
        KeyringError: there are releases, and the provider's keyring is missing or has expired.
    """
    records = registry.releases(schema_digest, status="active")
    if not records:
        return []
    root, keyring = read_trust(config.home, now=None)
    require_unexpired(root, keyring, datetime.now(UTC))
    return unrevoked(records, registry, keyring)
