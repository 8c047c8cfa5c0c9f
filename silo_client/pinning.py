"""Which root a silo believes: the one that people compared, then the one that was pinned, or a successor of either.

Expired roots and keyrings count here as far as they go: they say who may sign the next one, and which version was seen
last. What a silo goes on with must be valid now.
"""

from datetime import datetime
from pathlib import Path

from llamdex_fl.envelope import EnrolmentReply, Keyring, Root, load_root, read_root, read_trust
from llamdex_fl.errors import ConfigError
from silo_client.config import SiloConfig

__all__ = ["root_path", "stored_keyring", "trusted_root"]


def root_path(config: SiloConfig) -> Path:
    """The file of the pinned root."""
    return config.home / "root.json"


def stored_keyring(config: SiloConfig) -> Keyring:
    """The keyring that was seen last; raises ``KeyringError``."""
    return read_trust(config.home, now=None)[1]


def trusted_root(config: SiloConfig, answer: EnrolmentReply, fingerprint: str | None, now: datetime) -> Root:
    """The newest root of a reply, if it is to be believed.

    Args:
        config: the silo's.
        answer: a provider's reply.
        fingerprint: of a root, as people compared it; None where a root was pinned before.
        now: the present.

    Raises:
        KeyringError: no root of the reply is the one that was compared or pinned, or follows from it, or it expired.
        ConfigError: no root was pinned, and there is no fingerprint.
    """
    chain = (*answer.former_roots, answer.root)
    if fingerprint is None:
        if not root_path(config).exists():
            raise ConfigError(
                "This silo has pinned no root yet.",
                expected="an invitation, or the root's fingerprint",
                got="neither",
                next_step="llamdex-silo enrol HOME INVITATION",
            )
        return load_root(root_path(config), now=None).latest(chain, now)
    wanted = fingerprint.lower().replace(":", "")
    named = next((root for root in chain if root.digest().hex() == wanted), answer.root)
    newest = read_root(named, now=None, fingerprint=fingerprint).latest(chain, now)
    if not root_path(config).exists():
        return newest
    stored = load_root(root_path(config), now=None)
    if stored.fingerprint() != newest.fingerprint() and stored.latest(chain, now).fingerprint() != newest.fingerprint():
        # Its own error says why it is no successor.
        return stored.successor(answer.root, now)
    return newest
