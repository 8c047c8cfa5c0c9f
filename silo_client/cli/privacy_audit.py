"""``llamdex-silo privacy audit``: the claimed epsilon beside what an attack proves."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from silo_client.cli.privacy import privacy

if TYPE_CHECKING:
    from silo_client.audit import AuditedTrainer, AuditReport

__all__ = ["audit"]

#: About as many as the weights of a small schema keep apart: docs/audit.md.
_EACH = 60


@privacy.command()
def audit(  # noqa: PLR0913 - each is an option
    *,
    schema: Annotated[
        str | None,
        typer.Option(help="A schema's name, or a schema file. Default: heart, or sentiment for an expert of texts."),
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="The expert's architecture, for example thermometer_linear/v2 or minilm_lora/v1.")
    ] = "thermometer_linear/v1",
    epsilon: Annotated[float, typer.Option(help="What a release may cost, as in an offer.")] = 1.0,
    delta: Annotated[float, typer.Option(help="Delta of that guarantee.")] = 1e-4,
    records: Annotated[
        int, typer.Option(min=0, max=100_000, help="Other records, which say nothing, in every training.")
    ] = 300,
    canaries: Annotated[
        int, typer.Option(min=1, max=100_000, help="Records that a coin puts in or leaves out; dealt over the runs.")
    ] = 3600,
    runs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Trainings. 1 is an audit in one run; more see smaller faults. Default: one for every 60 canaries.",
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="With which the lower bound holds, if nothing is at fault.")
    ] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Attack releases of the trainer that serves this silo, and compare what they tell with what they claim.

    It needs no silo's directory, touches no private record and spends no budget: the records are drawn from the schema.
    What it shows is a lower bound for one attacker; a small one is no proof of privacy. Ends with exit code 1 if the
    claim is contradicted.
    """
    from silo_client.audit import audit as run_audit  # noqa: PLC0415 - keeps --help fast

    runs = max(1, canaries // _EACH) if runs is None else runs
    trainer = _trainer(
        architecture, schema, epsilon=epsilon, delta=delta, canaries=-(-canaries // runs), records=records
    )
    with console.progress() as shown:
        task = shown.add_task("training and attacking", total=runs)
        report = run_audit(
            trainer,
            canaries=canaries,
            runs=runs,
            confidence=confidence,
            progress=lambda done, _: shown.update(task, completed=done),
        )
    if as_json:
        console.print_json(report.as_dict())
    else:
        _show(report)
    report.require_consistent()


def _trainer(  # noqa: PLR0913 - what an audit is told
    architecture: str, schema: str | None, *, epsilon: float, delta: float, canaries: int, records: int
) -> "AuditedTrainer":
    from llamdex_fl.experts import require_fit, takes_text  # noqa: PLC0415 - keeps --help fast
    from llamdex_fl.schema import find_schema  # noqa: PLC0415

    texts = takes_text(architecture)
    meaning = find_schema(schema or ("sentiment" if texts else "heart"))
    require_fit(architecture, meaning)
    if texts:
        from silo_client.text_audit import TextTrainer  # noqa: PLC0415

        return TextTrainer(meaning, architecture, epsilon=epsilon, delta=delta, canaries=canaries, records=records)
    from silo_client.tabular_audit import TabularTrainer  # noqa: PLC0415

    return TabularTrainer(meaning, architecture, epsilon=epsilon, delta=delta, canaries=canaries, records=records)


def _show(report: "AuditReport") -> None:
    claimed = report.claimed
    table = Table(title=f"Audit: {report.canaries} canaries in {report.runs} trainings, {report.seconds:.1f} s")
    for heading in ("", "claimed: at most", f"attack: at least ({100 * report.confidence:g} % sure)", "attack scored"):
        table.add_column(heading)
    table.add_row(
        f"epsilon at delta {claimed.delta:g}",
        f"{claimed.epsilon:.4f}",
        f"{report.empirical_lower_bound:.4f}",
        f"{report.correct} of {report.guesses} guesses right",
    )
    table.add_row(
        "advantage of an attacker",
        f"{report.advantage_claimed:.4f}",
        f"{report.advantage_lower_bound:.4f}" if report.runs > 1 else "needs several runs",
        f"{report.advantage:.4f}",
    )
    console.stdout.print(table)
    verdict = (
        "Consistent: the attack leaves the claim standing. It is no proof that no attack would do better."
        if report.consistent
        else "NOT consistent: see below."
    )
    for line in (
        f"Adjacency {claimed.adjacency}, unit {claimed.unit}, accountant {claimed.accountant}.",
        f"Both directions tested: {report.correct_in} right guesses said in, {report.correct - report.correct_in} out.",
        verdict,
    ):
        console.stdout.print(line, highlight=False, markup=False, soft_wrap=True)
