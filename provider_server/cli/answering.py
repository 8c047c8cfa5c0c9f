"""``llamdex-provider connect``, ``ask`` and ``eval``: train the connectors, put a question, measure."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamdex_fl import console
from llamdex_fl.errors import QuestionError
from provider_server.cli.main import app

if TYPE_CHECKING:
    from llamdex_fl.assembly import Answer
    from llamdex_fl.schema import Value

__all__ = ["Home", "Json", "ask", "connect", "evaluate_questions", "found_home"]

_HOME_VARIABLE = "LLAMDEX_PROVIDER_HOME"
_DEMO_HOME = Path("out/demo/provider")

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help=f"The provider's directory. Default: ${_HOME_VARIABLE}, else this directory if it is one, "
        f"else {_DEMO_HOME}, where the demo leaves its provider.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result for a program.")]


@app.command()
def connect(
    home: Home = None,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train all anew, whatever the cache has.")] = False,
    reader_only: Annotated[
        bool, typer.Option("--reader-only", help="Train the reader into the cache, and leave the provider as it is.")
    ] = False,
) -> None:
    """Train the reader for the provider's schemas; no silo's records are needed or used.

    Schemas that were added since join the reader that knows the others, in seconds or minutes. The injector for the
    packaged LLM comes with the package; for another LLM one is trained, once, whatever the schemas.
    """
    from llamdex_fl.base_llm.base import load_base_llm  # noqa: PLC0415 - torch, not for --help
    from provider_server.config import load_provider_config  # noqa: PLC0415
    from provider_server.fitting import fit_connectors, fit_reader  # noqa: PLC0415

    config = load_provider_config(found_home(home))
    with console.progress() as shown:
        tasks = {what: shown.add_task(what, total=None) for what in ("reader", "injector")}

        def told(what: str, done: int, total: int) -> None:
            shown.update(tasks[what], completed=done, total=total)
            if shown.disable and done % max(1, total // 20) == 0:
                console.stderr.print(f"{what} {done}/{total}", highlight=False)

        if reader_only:
            _, trained = fit_reader(config, fresh=fresh, on_progress=told)
        else:
            trained = fit_connectors(config, load_base_llm(config.base_llm), fresh=fresh, on_progress=told)
    console.stdout.print(
        "The connectors were trained." if trained else "Nothing was to be trained: the connectors were there."
    )


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question, as you would write it to a person.")],
    home: Home = None,
    *,
    asker: Annotated[str | None, typer.Option(help="The silo that asks: its own prior is used.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Let the LLM go on with the facts that the question does not say.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer a question: the LLM's words, the probability, which experts spoke, and the facts that were read."""
    from provider_server.config import load_provider_config  # noqa: PLC0415 - torch, not for --help

    config = load_provider_config(found_home(home))
    if not question.strip():
        raise QuestionError("The question is empty.", expected="a question", got="no words", next_step="ask something")
    from provider_server.live_assembly import open_assembly  # noqa: PLC0415 - torch, not for --help

    answer = open_assembly(config).answer(question, asker=asker, explain=explain)
    if as_json:
        console.print_json(
            {
                "answer": answer.text,
                "schema": answer.schema,
                "probabilities": dict(answer.probabilities),
                "expert_probabilities": dict(answer.expert_probabilities),
                "experts": list(answer.silos),
                "facts": dict(answer.facts),
                "missing": list(answer.missing),
                "conflicts": dict(answer.conflicts),
            }
        )
    else:
        _show(answer)


@app.command("eval")
def evaluate_questions(
    questions: Annotated[Path, typer.Option("--questions", help="JSONL: id, schema, question, features, label.")],
    home: Home = None,
    *,
    as_json: Json = False,
) -> None:
    """Measure the assembly on questions whose records and outcomes are known."""
    from llamdex_fl.assembly import evaluate, read_questions  # noqa: PLC0415 - torch, not for --help
    from provider_server.config import load_provider_config  # noqa: PLC0415
    from provider_server.fitting import provider_schemas  # noqa: PLC0415
    from provider_server.live_assembly import open_assembly  # noqa: PLC0415

    config = load_provider_config(found_home(home))
    # Read before the LLM is loaded: a wrong line is told at once.
    read_questions(questions, {schema.name: schema for schema in provider_schemas(config)})
    assembly = open_assembly(config, fixed=True)
    # Again, with the schemas that the connectors know: one may have been added since they were trained.
    asked = read_questions(questions, assembly.reader.schemas)
    with console.progress() as shown:
        task = shown.add_task("questions", total=None)
        report = evaluate(
            assembly, asked, on_question=lambda done, total: shown.update(task, completed=done, total=total)
        )
    if as_json:
        console.print_json(report)
    else:
        _show_report(report)


def found_home(home: Path | None) -> Path:
    """The provider's directory: the one that was given, or where one is likely to be."""
    if home is not None:
        return home
    if os.environ.get(_HOME_VARIABLE):
        return Path(os.environ[_HOME_VARIABLE])
    return Path() if Path("provider.toml").is_file() else _DEMO_HOME


def _show(answer: "Answer") -> None:
    from rich.table import Table  # noqa: PLC0415 - keeps --help fast
    from rich.text import Text  # noqa: PLC0415

    console.stdout.print(answer.text, style="bold", markup=False, highlight=False)
    if answer.schema is None:
        console.stdout.print("No schema answers this; the base LLM spoke alone.", style="dim")
        return
    chances = ", ".join(f"{word} {chance:.2f}" for word, chance in answer.probabilities.items())
    console.stdout.print(f"probability: {chances}", highlight=False)
    console.stdout.print(f"experts: {', '.join(answer.silos)} ({answer.schema})", highlight=False)
    table = Table("fact", "read in the question")
    for name, value in answer.facts.items():
        rival = answer.conflicts.get(name)
        also = f" (it seems to say {_said(rival)} as well)" if rival is not None else ""
        # A text that was read may hold what rich takes for markup.
        table.add_row(name, Text(_said(value) + also))
    console.stdout.print(table)


def _said(value: "Value") -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _show_report(report: dict[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415 - keeps --help fast

    def rows(table: Table, document: dict[str, Any], prefix: str = "") -> None:
        for key, value in document.items():
            if isinstance(value, dict):
                rows(table, value, f"{prefix}{key}.")
            elif not isinstance(value, list):
                shown = "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
                table.add_row(prefix + key, shown)

    table = Table("measure", "value")
    rows(table, report)
    console.stdout.print(table)
