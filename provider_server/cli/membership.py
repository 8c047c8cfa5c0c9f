"""The provider's commands for who is who: invite, enrol, revoke, rotate, keyring."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from llamdex_fl.errors import InputError
from provider_server.cli.main import app

__all__ = ["enrol", "invite", "keyring", "revoke", "rotate"]

Home = Annotated[Path, typer.Argument(help="The provider's directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
RootKeys = Annotated[
    Path | None, typer.Option(help="Directory of the root's private keys, if they were moved away from HOME/root.")
]
_DIGEST = re.compile(r"[0-9a-f]{64}")


@app.command()
def invite(
    home: Home,
    silo: Annotated[str, typer.Argument(help="The id that the silo will have: lower-case letters, digits, hyphens.")],
    *,
    days: Annotated[float, typer.Option(help="For how many days the invitation is good.")] = 7.0,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT at which silos reach this provider, if not the configured address.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write it into this new file (mode 0600), not to stdout.")] = None,
) -> None:
    """Invite a silo: one use, for some days. Give the invitation to its people by a way that you trust.

    It holds a secret, and the root's fingerprint. A new invitation ends the silo's older ones that were not used.
    """
    from provider_server.invitations import invite as invite_silo  # noqa: PLC0415 - keeps --help fast

    if output is not None and output.exists():
        raise InputError(
            f"There is a file {output} already.",
            expected="a new file",
            got="one that would be overwritten",
            next_step="choose another name",
        )
    text = invite_silo(home, silo, lifetime=timedelta(days=days), address=address).to_json()
    if output is None:
        typer.echo(text)
        return
    from llamdex_fl.envelope import write_atomically  # noqa: PLC0415

    write_atomically(output, text.encode(), mode=0o600)
    console.stdout.print(str(output), soft_wrap=True, highlight=False, markup=False)


@app.command()
def enrol(  # noqa: PLR0913 - each is an option
    home: Home,
    requests: Annotated[list[Path] | None, typer.Argument(help="enrolment-request.json of one or more silos.")] = None,
    *,
    grace_days: Annotated[
        float, typer.Option(help="For how many days keys stay good that their silo replaced by new ones.")
    ] = 7.0,
    root_keys_from: RootKeys = None,
    passphrase_file: console.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Enrol silos: sign their certificates and a new keyring, and write HOME/replies/SILO.json for each.

    What vouches for each request is printed: an invitation, the keys that the silo has now, or people, who then must
    make sure by another way that it is from the silo it names. Without requests, the keyring is renewed.
    """
    from provider_server.membership import enrol_silos  # noqa: PLC0415 - keeps --help fast
    from provider_server.setup import root_fingerprint  # noqa: PLC0415 - keeps --help fast

    enrolled = enrol_silos(
        home,
        requests or [],
        root_keys=root_keys_from,
        passphrase=console.passphrase(passphrase_file),
        grace=timedelta(days=grace_days),
    )
    if as_json:
        console.print_json(
            {
                "replies": {one.silo: str(one.reply) for one in enrolled},
                "vouched_by": {one.silo: one.vouched_by for one in enrolled},
                "root_fingerprint": root_fingerprint(home),
            }
        )
        return
    for one in enrolled:
        console.stdout.print(
            f"reply for {one.silo} (vouched for by {one.vouched_by}): {one.reply}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


@app.command()
def revoke(
    home: Home,
    who: Annotated[str, typer.Argument(metavar="SILO", help="The silo's id; or the id of one key, or SPKI digest.")],
    *,
    root_keys_from: RootKeys = None,
    passphrase_file: console.PassphraseFile = None,
) -> None:
    """Revoke a silo's keys, for good; a running provider refuses it from its next call on.

    Its uploads under way are refused, its experts speak no more, and the log holds the revocation.
    """
    from provider_server.membership import revoke as revoke_silo  # noqa: PLC0415 - keeps --help fast
    from provider_server.membership import revoke_key  # noqa: PLC0415

    act = revoke_key if _DIGEST.fullmatch(who) else revoke_silo
    after = act(home, who, root_keys=root_keys_from, passphrase=console.passphrase(passphrase_file))
    console.stdout.print(f"revoked {who} in keyring version {after.version}", highlight=False)


@app.command()
def rotate(  # noqa: PLR0913 - each is an option
    home: Home,
    what: Annotated[str, typer.Argument(help="recipient, signing, tls, ca or root.")],
    *,
    use_it: Annotated[
        bool, typer.Option("--use", help="tls, ca: use the new one that was announced, once silos had time to update.")
    ] = False,
    retire_old: Annotated[
        bool, typer.Option("--retire", help="End the old ones, and remove their private keys from the disk.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="ca --retire: even if silos have not been seen with a certificate of the new CA yet."
        ),
    ] = False,
    root_keys: Annotated[int | None, typer.Option(help="root: how many keys the new one has.")] = None,
    root_threshold: Annotated[int | None, typer.Option(help="root: how many of them must sign.")] = None,
    root_keys_from: RootKeys = None,
    passphrase_file: console.PassphraseFile = None,
) -> None:
    """Rotate a key of the provider without downtime: the new one beside the old, then instead of it.

    recipient, signing, root: "rotate" and, later, "--retire". tls, ca: "rotate" announces, then "--use", then
    "--retire", which waits for a ca until every silo was seen with a certificate of the new one. Silos take the new
    keyring at their next upload. A running provider needs no restart.
    """
    from provider_server import rotation  # noqa: PLC0415 - keeps --help fast

    if what not in {"recipient", "signing", "tls", "ca", "root"} or (use_it and retire_old):
        raise InputError(
            "This cannot be rotated.",
            expected="recipient, signing, tls, ca or root, with --use or --retire or neither",
            got=what[:80],
            next_step="see llamdex-provider rotate --help",
        )
    passphrase = console.passphrase(passphrase_file)
    if use_it:
        after = rotation.use(home, what, root_keys=root_keys_from, passphrase=passphrase)  # type: ignore[arg-type]  # checked
    elif retire_old:
        after = rotation.retire(
            home,
            what,  # type: ignore[arg-type]  # checked
            root_keys=root_keys_from,
            passphrase=passphrase,
            force=force,
        )
    elif what == "root":
        after = rotation.rotate_root(
            home, count=root_keys, threshold=root_threshold, root_keys=root_keys_from, passphrase=passphrase
        )
    else:
        after = rotation.rotate(home, what, root_keys=root_keys_from, passphrase=passphrase)  # type: ignore[arg-type]  # checked
    done = "in use" if use_it else "old ones retired" if retire_old else "rotated"
    console.stdout.print(f"{what}: {done}, keyring version {after.version}", highlight=False)


@app.command()
def keyring(home: Home, *, as_json: AsJson = False) -> None:
    """Show who is who now: version and expiry, the provider's keys, the silos and what was revoked."""
    from llamdex_fl.envelope import ca_digests, read_trust  # noqa: PLC0415 - keeps --help fast
    from provider_server.config import load_provider_config  # noqa: PLC0415
    from provider_server.registry import Registry  # noqa: PLC0415

    config = load_provider_config(home)
    root, present = read_trust(config.home, now=None)
    present, seen = present.at(datetime.now(UTC)), {}
    if config.registry.exists():
        with Registry(config.registry) as registry:
            seen = registry.sightings.all()
    document = {
        "version": present.version,
        "expires_at": present.expires_at.isoformat(),
        "expired": datetime.now(UTC) >= present.expires_at,
        "root": {
            "version": root.version,
            "fingerprint": root.fingerprint(),
            "threshold": root.threshold,
            "expires_at": root.expires_at.isoformat(),
            "expired": datetime.now(UTC) >= root.expires_at,
        },
        "signing": [key.keyid for key in (present.provider.key, *present.provider.former)],
        "recipient": [key.keyid for key in present.provider.recipients],
        "tls": list(present.provider.spki),
        "ca": ca_digests(present.ca.encode()),
        "silos": {
            silo: {
                "key": member.key.keyid,
                "former": {former.key.keyid: former.until.isoformat() for former in member.former},
                "revoked": bool({member.key.keyid, member.spki} & set(present.revoked)),
                # Of which CA the certificate is that it showed last, and since when.
                "seen": {"ca": seen[silo].ca, "since": seen[silo].since.isoformat()} if silo in seen else None,
            }
            for silo, member in sorted(present.silos.items())
        },
        "revoked": list(present.revoked),
    }
    if as_json:
        console.print_json(document)
        return
    console.stdout.print_json(data=document)
