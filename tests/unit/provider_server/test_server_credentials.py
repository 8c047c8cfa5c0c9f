"""What gRPC is handed when it asks for the server's TLS credentials before a connection."""

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from llamdex_fl.errors import KeyringError
from provider_server import server


def test_the_same_credentials_are_never_handed_over_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gRPC replaces it frees while other connections use it, so it must replace nothing for nothing."""
    asked: list[Any] = []
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda _first, fetch, **_: asked.append(fetch))
    state = SimpleNamespace(pair=(b"key", b"certificate"), ca="ca", broken=False)

    def keyring() -> SimpleNamespace:
        if state.broken:
            raise KeyringError("no keyring", expected="one", got="none", next_step="restore it")
        return SimpleNamespace(ca=state.ca)

    server._credentials(SimpleNamespace(tls_pair=lambda: state.pair, current_keyring=keyring))  # type: ignore[arg-type] # all it needs of a desk
    (fetch,) = asked
    assert fetch() is None
    state.pair = (b"key", b"another certificate")
    assert fetch() is not None
    assert fetch() is None
    state.ca = "another ca"
    assert fetch() is not None
    state.broken = True
    assert fetch() is None
    state.broken = False
    assert fetch() is None
