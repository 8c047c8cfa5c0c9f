"""``llamdex-sim compare``: ours against the other ways, on the same splits and under the same budget."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

if TYPE_CHECKING:
    from simulations.alternatives import Comparison, Settings

__all__ = ["compare", "settings_of"]


@app.command()
def compare(  # noqa: PLR0913 - each is an option
    more: Annotated[
        list[str] | None,
        typer.Argument(
            help="More data sets and methods, so that --datasets titanic heart --methods alone pooled works."
        ),
    ] = None,
    *,
    datasets: Annotated[
        list[str] | None,
        typer.Option(help="heart (four hospitals), titanic, bank, nursery, wine or pima (dealt to four silos)."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(help="What to compare, by commas or several times; all-tabular, all, or names. See below."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many: 0, 1, 2 ...")] = 3,
    epsilon: Annotated[
        float, typer.Option(min=0.05, max=16.0, help="What each published table or weights cost.")
    ] = 1.0,
    delta: Annotated[
        float | None, typer.Option(min=1e-12, max=1e-3, help="Of each guarantee; else by the bound on records.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Held-out records that an LLM is asked about, a seed.")] = 40,
    tuning_steps: Annotated[int, typer.Option(min=1, help="Of the LLM on synthetic questions, four each.")] = 60,
    mst_iterations: Annotated[int, typer.Option(min=0, help="Of MST's inference; 0 for dpmm's own 5,000.")] = 300,
    aim_iterations: Annotated[int, typer.Option(min=0, help="Of AIM's inference; 0 for dpmm's own 1,000.")] = 100,
    base_llm: Annotated[
        str | None, typer.Option(help="A directory that transformers loads; else the packaged LLM.")
    ] = None,
    provider: Annotated[
        Path | None, typer.Option(help="Home of a provider with connectors: assembled_llm asks through them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare our assembly with the other ways to the same: all real, on the same splits, at the same budget.

    Names: alone, assembled (ours), dp_fedavg, pooled_dp, pooled; synthesis_mst, synthesis_aim and both with
    _single_owner behind them (these need make synthesis-env); synthesis_dp_ctgan; plain_llm, expert_api,
    llm_on_synthetic_mst, _aim and _dp_ctgan (minutes a seed); assembled_llm with --provider. Without --methods: the
    first five, and MST where its environment is there.
    """
    from simulations.alternatives import alternatives  # noqa: PLC0415 - loads torch
    from simulations.alternatives import compare as compared  # noqa: PLC0415

    names, chosen = _named(datasets or [], methods or [], more or [], with_connectors=provider is not None)
    settings = settings_of(questions, tuning_steps, mst_iterations, aim_iterations, base_llm, provider)
    with console.stages() as told:
        comparisons = [
            compared(
                name,
                range(seeds),
                alternatives(chosen, settings),
                epsilon=epsilon,
                delta=delta,
                on_step=functools.partial(told, name),
            )
            for name in names
        ]
    document = {"seeds": seeds, "epsilon": epsilon, "data_sets": [own.document() for own in comparisons]}
    if out is not None:
        _write(out, document)
    if as_json:
        console.print_json(document)
    for own in comparisons if not as_json else ():
        console.stdout.print(_table(own, epsilon))


def _named(
    datasets: list[str], methods: list[str], more: list[str], *, with_connectors: bool
) -> tuple[list[str], list[str]]:
    """The data sets and methods that are meant."""
    from simulations.alternatives import COHORTS, METHODS, TABULAR  # noqa: PLC0415 - loads torch
    from simulations.alternatives.synthesis import has_environment  # noqa: PLC0415

    names = [*datasets, *(name for name in more if name not in METHODS)] or ["titanic", "heart"]
    if unknown := [name for name in names if name not in COHORTS]:
        raise typer.BadParameter(f"expected {', '.join(COHORTS)}, not {unknown[0]}", param_hint="--datasets")
    also = [name for name in more if name in METHODS]
    known = [name for name in METHODS if with_connectors or name != "assembled_llm"]
    return names, _chosen([*methods, *also], known, list(TABULAR), with_synthesis=has_environment())


def _chosen(given: list[str], known: list[str], tabular: list[str], *, with_synthesis: bool) -> list[str]:
    if not given:
        return [*tabular, *(["synthesis_mst"] if with_synthesis else [])]
    names: list[str] = []
    for part in (piece.strip() for text in given for piece in text.split(",")):
        names += known if part == "all" else tabular if part == "all-tabular" else [part]
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"expected {', '.join(known)}, not {unknown[0]}", param_hint="--methods")
    return list(dict.fromkeys(names))


def settings_of(  # noqa: PLR0913, PLR0917 - each is an option
    questions: int, steps: int, mst: int, aim: int, base_llm: str | None, provider: Path | None, *, said: bool = True
) -> "Settings":
    """How the alternatives are run, from the options of a command; 0 iterations are dpmm's own number."""
    from llamdex_fl.base_llm.base import load_base_llm  # noqa: PLC0415 - loads torch, and --help must not
    from simulations.alternatives import LLMSettings, LoraSettings, Settings, SynthesisSettings  # noqa: PLC0415

    load = functools.cache(functools.partial(load_base_llm, *([base_llm] if base_llm else [])))
    connectors = None
    if provider is not None:
        from provider_server.config import load_provider_config  # noqa: PLC0415
        from provider_server.live_assembly import open_connectors  # noqa: PLC0415

        config = load_provider_config(provider)
        connectors = functools.cache(lambda: open_connectors(config, load()))
    return Settings(
        connectors=connectors,
        llm=LLMSettings(load=load, questions=questions, said=said),
        lora=LoraSettings(steps=steps),
        synthesis=SynthesisSettings(mst_iterations=mst or None, aim_iterations=aim or None),
    )


def _write(path: Path, document: dict[str, Any]) -> None:
    from simulations.demo.consortium import write_json  # noqa: PLC0415 - loads much

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, document)


def _table(comparison: "Comparison", epsilon: float) -> Table:
    from llamdex_fl.privacy import ADJACENCY, UNIT  # noqa: PLC0415 - loads scipy, and --help must not

    document = comparison.document()
    table = Table(
        title=f"{comparison.data_set}: {len(comparison.silos)} silos, majority {100 * document['majority']:.1f} %, "
        f"{len(comparison.seeds)} seeds; epsilon {epsilon:g} at delta {comparison.delta:.1e} of each table, "
        f"for one {UNIT} ({ADJACENCY})"
    )
    heads = ("", "accuracy, 95 %", "AUC", "ours less this, 95 %", "p", "table", "s", "kB sent")
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for name, own in document["methods"].items():
        against, spent = own["ours_less_this"], own["guarantee"]
        table.add_row(
            name,
            _interval(own["accuracy"], 100.0, 1),
            "-" if own["auc"] is None else f"{own['auc']['mean']:.3f}",
            "-" if against is None else _interval(against, 100.0, 1),
            "-" if against is None else f"{against['p_bootstrap']:.3f}",
            "none" if spent is None else spent["table"],
            f"{own['seconds']:.1f}",
            f"{own['bytes_sent'] / 1000:.1f}",
        )
    return table


def _interval(own: dict[str, Any], times: float, digits: int) -> str:
    mean = f"{times * own['mean']:.{digits}f}"
    if own["low"] is None:
        return mean
    return f"{mean} ({times * own['low']:.{digits}f} to {times * own['high']:.{digits}f})"
