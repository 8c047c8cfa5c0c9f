"""``llamdex-silo enrol``, ``keys``, ``join``, ``rotate``, ``update``: a silo's keys, and its place in a consortium."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamdex_fl import console
from silo_client.cli.main import app

if TYPE_CHECKING:
    from llamdex_fl.envelope import Keyring

__all__ = ["enrol", "join", "keys", "rotate", "update"]

Home = Annotated[Path, typer.Argument(help="The silo's directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command()
def enrol(  # noqa: PLR0913 - each is an option
    home: Home,
    file: Annotated[Path, typer.Argument(help="The provider's invitation; or, afterwards, its reply.")],
    *,
    new_keys: Annotated[
        bool, typer.Option("--new-keys", help="Make new keys even if there are some, as after a revocation.")
    ] = False,
    ask_passphrase: console.AskPassphrase = False,
    passphrase_file: console.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Enrol by invitation, in two steps: give the invitation, send the request; give the provider's reply.

    First: llamdex-silo enrol HOME INVITATION makes the keys if there are none, and HOME/enrolment-request.json, which
    holds no secret and may be mailed. Then: llamdex-silo enrol HOME REPLY. Nobody needs to compare fingerprints: the
    invitation holds the root's.
    """
    from llamdex_fl.envelope import Invitation  # noqa: PLC0415 - keeps --help fast
    from silo_client.enrolment import finish, read_reply_file, request_by_invitation  # noqa: PLC0415

    text = file.read_text(encoding="utf-8", errors="replace")
    if '"certificate"' in text and '"keyring"' in text:
        passphrase = console.passphrase(passphrase_file)
        _say_joined(finish(home, read_reply_file(file), passphrase), as_json=as_json)
        return
    invitation = Invitation.from_json(text)
    passphrase = console.passphrase(passphrase_file, new=True, ask=ask_passphrase) or console.passphrase()
    request = request_by_invitation(home, invitation, passphrase, new_keys=new_keys)
    if as_json:
        console.print_json({"request": str(request), "provider": invitation.provider})
        return
    console.stdout.print(str(request), soft_wrap=True, highlight=False, markup=False)
    console.stderr.print(
        f"Next: send it to {invitation.provider}, and give the answer to llamdex-silo enrol {home} REPLY",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def keys(
    home: Home,
    *,
    ask_passphrase: console.AskPassphrase = False,
    passphrase_file: console.PassphraseFile = None,
) -> None:
    """Make the silo's private keys (HOME/keys, readable by you only) and HOME/enrolment-request.json.

    For an enrolment without an invitation. Carry the request to the provider; it holds no secret. Keys that are there
    already are kept.
    """
    from silo_client.enrolment import make_keys  # noqa: PLC0415 - keeps --help fast

    passphrase = console.passphrase(passphrase_file, new=True, ask=ask_passphrase) or console.passphrase()
    console.stdout.print(str(make_keys(home, passphrase)), soft_wrap=True, highlight=False, markup=False)


@app.command()
def join(
    home: Home,
    reply: Annotated[Path, typer.Argument(help="The file that the provider made for this silo.")],
    *,
    root_fingerprint: Annotated[
        str, typer.Option(help="The root's fingerprint, as it was told by another way than the reply came.")
    ],
    passphrase_file: console.PassphraseFile = None,
) -> None:
    """Join the consortium without an invitation: take root, keyring and certificate from the provider's reply.

    The same command takes a later reply, for example after keys were revoked; an older keyring is refused.
    """
    from silo_client.enrolment import join as join_consortium  # noqa: PLC0415 - keeps --help fast

    _say_joined(join_consortium(home, reply, root_fingerprint, console.passphrase(passphrase_file)), as_json=False)


@app.command()
def rotate(home: Home, *, passphrase_file: console.PassphraseFile = None) -> None:
    """Make new keys, and a request for them that the present keys sign too: HOME/enrolment-request.json.

    The present keys go on being used. Once the provider has enrolled the request, the new ones are taken at the next
    upload, or with llamdex-silo update; the old ones stay good for some days, so nothing under way is lost.
    """
    from silo_client.enrolment import rotate_keys  # noqa: PLC0415 - keeps --help fast

    request = rotate_keys(home, console.passphrase(passphrase_file))
    console.stdout.print(str(request), soft_wrap=True, highlight=False, markup=False)


@app.command()
def update(
    home: Home,
    reply: Annotated[
        Path | None, typer.Argument(help="A newer reply of the provider; without it, the provider is asked.")
    ] = None,
    *,
    passphrase_file: console.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take the newest keyring, root and certificate; every upload does the same by itself.

    What comes is believed because of the root that was pinned when the silo joined; an older keyring is refused.
    """
    from silo_client.config import load_silo_config  # noqa: PLC0415 - keeps --help fast
    from silo_client.connection import TransientError, unreachable  # noqa: PLC0415
    from silo_client.enrolment import load_identity, read_reply_file, take  # noqa: PLC0415
    from silo_client.membership import renewed  # noqa: PLC0415

    config, passphrase = load_silo_config(home), console.passphrase(passphrase_file)
    if reply is not None:
        keyring = take(config, read_reply_file(reply), passphrase=passphrase)
    else:
        try:
            before = load_identity(config, passphrase, expired=True)
            identity = renewed(before, config, passphrase)
            if identity is not before:
                # With what was taken: it works, and the provider has seen it.
                identity = renewed(identity, config, passphrase)
            keyring = identity.keyring
        except TransientError as error:
            raise (error.final or unreachable(config, str(error))) from error
    _say_joined(keyring, as_json=as_json)


def _say_joined(keyring: "Keyring", *, as_json: bool) -> None:
    if as_json:
        console.print_json(
            {
                "trust_domain": keyring.trust_domain,
                "provider": keyring.provider.provider,
                "keyring_version": keyring.version,
                "expires_at": keyring.expires_at.isoformat(),
            }
        )
        return
    console.stdout.print(
        f"joined {keyring.trust_domain}: provider {keyring.provider.provider}, keyring version {keyring.version}, "
        f"valid until {keyring.expires_at:%Y-%m-%d}",
        highlight=False,
        markup=False,
    )
