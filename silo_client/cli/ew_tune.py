"""``llamdex-silo ew-tune bench``: what a tighter accountant is worth where a language model is fine-tuned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.table import Table

from llamdex_fl import console
from llamdex_fl.errors import InputError
from silo_client.cli.main import app

if TYPE_CHECKING:
    from silo_client.ew_tune import Texts

__all__ = ["bench", "ew_tune"]

ew_tune = typer.Typer(no_args_is_help=True, help="EW-Tune: fine-tune a text expert under differential privacy.")
app.add_typer(ew_tune, name="ew-tune")

_NOTE = (
    "GLUE, on which EW-Tune was published, cannot be had offline: it is in no package. These are four public sources "
    "of rated sentences (Hutto and Gilbert 2014), of which the movie reviews are the source of GLUE's SST-2."
)
#: The recipe was chosen on this source, so its figures are a little generous to every route alike.
_DEVELOPED_ON = "tweets"
_QUICK_RECORDS = 800
_SMOLLM2_RECORDS = 1000


@ew_tune.callback()
def group() -> None:
    """EW-Tune: fine-tune a text expert under differential privacy."""


@ew_tune.command()
def bench(  # noqa: PLR0913 - each is an option
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE.csv: your own PUBLIC texts, with the columns of the schema. Repeat for several. Default: "
            "the four sources, downloaded once (2.5 MB)."
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Of the four: movies, editorials, tweets or products. Repeat for several. Default: all."),
    ] = None,
    schema: Annotated[str, typer.Option(help="A schema's name, or a schema file, of --data.")] = "sentiment",
    base: Annotated[
        Literal["minilm", "smollm2"],
        typer.Option(help="What is fine-tuned: minilm (22M parameters), or smollm2 (135M; at most 1,000 texts each)."),
    ] = "minilm",
    epsilon: Annotated[float, typer.Option(help="Of every guarantee; delta is n^-1.1 for n texts to train on.")] = 2.0,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Splits into texts to train on and held-out texts.")] = 3,
    records: Annotated[
        int | None, typer.Option(min=50, help="Use at most this many texts of a source. Default: all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, at most 800 texts of a source: two minutes of one core.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(help="A file for the results of single trainings: the same command goes on after a break."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fine-tune on public texts with the noise of RDP, PLD and Edgeworth, at one and the same guarantee.

    Shows for each source the noise that each accountant asks for, the certified epsilon at that noise, the accuracy on
    held-out texts, and what the same recipe reaches without privacy. Half an hour of one core; sources are worked on
    side by side where there are more, and --keep goes on after a break.
    """
    from llamdex_fl.experts import MINILM_LORA, SMOLLM2_LORA  # noqa: PLC0415 - keeps --help fast
    from llamdex_fl.schema import find_schema  # noqa: PLC0415
    from silo_client.ew_tune import BenchPlan  # noqa: PLC0415
    from silo_client.ew_tune import bench as run  # noqa: PLC0415

    meaning = find_schema(schema if data else "sentiment")
    texts = _own(data, meaning) if data else _sources(source)
    limits = (records, _QUICK_RECORDS if quick else None, _SMOLLM2_RECORDS if base == "smollm2" else None)
    most = min((number for number in limits if number is not None), default=None)
    plan = BenchPlan(
        architecture=MINILM_LORA if base == "minilm" else SMOLLM2_LORA,
        schema=meaning,
        epsilon=epsilon,
        seeds=1 if quick else seeds,
        most_records=most,
    )
    with console.stages() as told:
        found = run(plan, texts, lambda name, what, done, total: told(f"{name}: {what}", done, total), keep)
    if as_json:
        console.print_json(
            {
                "architecture": plan.architecture,
                "epsilon": epsilon,
                "seeds": plan.seeds,
                "sources": found,
                "note": _NOTE,
                "developed_on": _DEVELOPED_ON,
            }
        )
        return
    for name, rows in found.items():
        _show(name, rows, epsilon)
    if not data:
        _say(_NOTE)
        _say(f"The recipe was chosen on the {_DEVELOPED_ON}: their figures are a little generous, to every row alike.")
    _say("Guarantees: add_remove of one record, the class counts included. Epsilon: certified. Saves: noise, of RDP's.")
    _say("Accuracy on held-out texts: mean and standard deviation over the seeds. Seconds: of a core, of one training.")


def _say(line: str) -> None:
    console.stdout.print(line, highlight=False, markup=False, soft_wrap=True)


def _sources(chosen: list[str] | None) -> dict[str, "Texts"]:
    from silo_client.sentiment_sources import SENTIMENT_SOURCES, load_sentiment  # noqa: PLC0415 - keeps --help fast

    unknown = set(chosen or []) - set(SENTIMENT_SOURCES)
    if unknown:
        raise InputError(
            "There is no such source.",
            expected=", ".join(SENTIMENT_SOURCES),
            got=", ".join(sorted(unknown))[:80],
            next_step="name one of these, or give a file of your own with --data",
        )
    return {name: load_sentiment(name) for name in chosen or SENTIMENT_SOURCES}


def _own(data: list[str], schema: Any) -> dict[str, "Texts"]:  # noqa: ANN401 - a Schema
    from silo_client.data import read_records  # noqa: PLC0415 - keeps --help fast

    if not schema.is_text:
        raise InputError(
            f"Records of the schema {schema.name} are no texts.",
            expected="a schema with one feature, a text",
            got=", ".join(feature.name for feature in schema.features)[:80],
            next_step="see docs/schema.md",
        )
    found: dict[str, Texts] = {}
    for given in data:
        name, _, path = given.partition("=")
        if not (name and path) or name in found:
            raise InputError(
                "This --data is not usable.",
                expected="NAME=FILE.csv, each name once",
                got=given[:200],
                next_step="give every source a name of its own",
            )
        read = read_records(Path(path), schema)
        # A text twice could be trained on and held out at once; the first counts.
        once: dict[str, int] = {}
        for record, label in zip(read.records, read.labels, strict=True):
            text = record[schema.features[0].name]
            if text is not None:
                once.setdefault(str(text), label)
        found[name] = list(once.items())
    return found


def _show(name: str, rows: dict[str, Any], epsilon: float) -> None:
    table = Table(
        title=f"{name}: {rows['records']} texts to train on, {rows['held_out']} held out, "
        f"epsilon {epsilon:g} at delta {rows['delta']:.2g}, {rows['seconds']:.0f} s",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("by", no_wrap=True)
    for heading in ("noise", "epsilon", "saves", "accuracy", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("binds")
    for route, row in rows["routes"].items():
        table.add_row(
            route,
            f"{row['noise_multiplier']:.4f}",
            f"{row['certified_epsilon']:.4f}",
            f"{100 * row['saving']:.2f} %",
            f"{100 * row['accuracy']:.2f} ± {100 * row['spread']:.2f}",
            f"{row['training_seconds']:.1f}",
            row["binds"],
        )
    ceiling = rows["ceiling"]
    accuracy = f"{100 * ceiling['accuracy']:.2f} ± {100 * ceiling['spread']:.2f}"
    table.add_row("no privacy", "0", "", "", accuracy, f"{ceiling['training_seconds']:.1f}", "")
    table.add_row("majority", "", "", "", f"{100 * rows['majority']:.2f}", "", "")
    console.stdout.print(table)
