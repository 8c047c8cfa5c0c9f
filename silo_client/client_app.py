"""The Flower ClientApp of a silo: it passes a provider's question to the silo's daemon, and the code back.

This module arrives at the silo in a bundle that the provider's SuperLink ships, so it is trusted with nothing:
records, keys, policy and ledger are the daemon's, and all that this code can do is ask. It imports no trainer,
so that a process for a message starts in about a second.

Node configuration (``flower-supernode --node-config``): ``silo-home``, the silo's directory, or ``silo-socket``,
the daemon's socket itself where the SuperNode's user may not read the home.
"""

from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from llamdex_fl.errors import ChannelError, ConfigError, InputError
from llamdex_fl.rounds import OFFER_RECORD, OUTCOME_RECORD, Answer, check_offer
from silo_client.daemon_protocol import Operation, Reply, Request, ask, find_socket

__all__ = ["app"]

#: Seconds. A policy is a file; a training takes minutes, and a provider that is down is waited for.
_OFFER_TIMEOUT_S = 30.0
_TRAIN_TIMEOUT_S = 3600.0


def only_codes(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Outermost mod: whatever goes wrong, a code leaves and no text.

    Flower sends the text of an exception to the server as it is.
    """
    try:
        return call_next(message, context)
    except ConfigError:
        return _reply(message, Reply(answer=Answer.SILO_MISCONFIGURED))
    except InputError:
        return _reply(message, Reply(answer=Answer.BAD_REQUEST))
    except ChannelError:
        return _reply(message, Reply(answer=Answer.DAEMON_UNREACHABLE))
    except Exception:  # noqa: BLE001 - this is the one place that must let nothing through
        return _reply(message, Reply(answer=Answer.INTERNAL))


app = ClientApp(mods=[only_codes])


@app.query("offer")  # type: ignore[untyped-decorator]  # Flower is not followed by mypy
def offer(message: Message, context: Context) -> Message:
    """Would the silo's policy allow this offer?"""
    return _reply(message, _ask(message, context, Operation.OFFER, _OFFER_TIMEOUT_S))


@app.train()  # type: ignore[untyped-decorator]  # Flower is not followed by mypy
def train(message: Message, context: Context) -> Message:
    """Train on the silo's records under this offer, and send the expert to the provider."""
    return _reply(message, _ask(message, context, Operation.TRAIN_AND_UPLOAD, _TRAIN_TIMEOUT_S))


def _ask(message: Message, context: Context, operation: Operation, timeout_s: float) -> Reply:
    record = message.content.get(OFFER_RECORD)
    request = Request(operation=operation, offer=check_offer(dict(record) if record is not None else {}))
    return ask(_socket(context), request, timeout_s=timeout_s)


def _socket(context: Context) -> Path:
    if "silo-socket" in context.node_config:
        return Path(str(context.node_config["silo-socket"]))
    if "silo-home" not in context.node_config:
        raise ConfigError(
            "The SuperNode does not say where the silo is.",
            expected="silo-home or silo-socket in its node configuration",
            got="neither",
            next_step="start it with --node-config 'silo-home=\"...\"'",
        )
    return find_socket(Path(str(context.node_config["silo-home"])))


def _reply(message: Message, reply: Reply) -> Message:
    outcome = ConfigRecord({"answer": reply.answer.value, **reply.facts})
    return Message(RecordDict({OUTCOME_RECORD: outcome}), reply_to=message)
