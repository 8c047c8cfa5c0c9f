"""What travels between silo and provider: generated messages (``v1``) and the one converter.

Here: messages to domain values and back, sizes checked. Not here: sockets (``silo_client.uplink``,
``provider_server.services``), signatures (``llamdex_fl.envelope``).
"""

from llamdex_fl.wire import convert

__all__ = ["convert"]
