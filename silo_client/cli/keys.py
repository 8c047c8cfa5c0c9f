"""``llamdex-silo keys`` and ``join``: enrolment in a consortium."""

from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from silo_client.cli.main import app

__all__ = ["join", "keys"]

Home = Annotated[Path, typer.Argument(help="The silo's directory.")]


@app.command()
def keys(home: Home) -> None:
    """Make the silo's private keys (HOME/keys, readable by you only) and HOME/enrolment-request.json.

    Carry the request to the provider; it holds no secret. Keys that are there already are kept.
    """
    from silo_client.enrolment import make_keys  # noqa: PLC0415 - keeps --help fast

    console.stdout.print(str(make_keys(home)), soft_wrap=True, highlight=False, markup=False)


@app.command()
def join(
    home: Home,
    reply: Annotated[Path, typer.Argument(help="The file that the provider made for this silo.")],
    *,
    root_fingerprint: Annotated[
        str, typer.Option(help="The root's fingerprint, as it was told by another way than the reply came.")
    ],
) -> None:
    """Join the consortium: take the root, the keyring and this silo's certificate from the provider's reply.

    The same command takes a later reply, for example after keys were revoked; an older keyring is refused.
    """
    from silo_client.enrolment import join as join_consortium  # noqa: PLC0415 - keeps --help fast

    keyring = join_consortium(home, reply, root_fingerprint)
    console.stdout.print(
        f"joined {keyring.trust_domain}: provider {keyring.provider.provider}, keyring version {keyring.version}, "
        f"valid until {keyring.expires_at:%Y-%m-%d}",
        highlight=False,
        markup=False,
    )
