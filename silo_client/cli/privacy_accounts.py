"""``llamdex-silo privacy calibrate``, ``epsilon`` and ``compare``: what a training costs, before anything is trained.

Numbers of a plan go in, and no data set, policy or ledger is looked at.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.bar import Bar
from rich.table import Table

from llamdex_fl import console
from silo_client.cli.privacy import privacy

if TYPE_CHECKING:
    from llamdex_fl.privacy import Comparison, Row

__all__ = ["calibrate", "compare", "epsilon"]

Records = Annotated[int, typer.Option(help="Public number of records, N.")]
Batch = Annotated[
    int, typer.Option(help="Expected batch size, B; each record is in a step with chance 1 / ceil(N / B).")
]
Epochs = Annotated[int, typer.Option(help="Passes over the records, E; E * ceil(N / B) steps in all.")]
Epsilon = Annotated[float, typer.Option(help="What the training may cost.")]
Delta = Annotated[float, typer.Option(help="Delta of the guarantee; keep it below 1 / N.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_POINTS = 8
_SAYS = {"certified": "safe, certified", "upper_bound": "safe, a bound", "estimate": "ESTIMATE"}


@privacy.command()
def calibrate(  # noqa: PLR0913 - each is an option
    records: Records,
    batch: Batch,
    epochs: Epochs,
    epsilon: Epsilon,
    delta: Delta,
    *,
    accountant: Annotated[
        str, typer.Option(help="Whose epsilon it is: pld, prv, rdp or edgeworth. Estimates are refused.")
    ] = "pld",
    as_json: AsJson = False,
) -> None:
    """Find the least noise multiplier with which a training costs at most EPSILON at DELTA.

    The guarantee is for adding or removing one record. The answer costs between 0.1 % of epsilon less and nothing less
    than what was asked for, and never more.
    """
    from llamdex_fl.privacy import SampledGaussian, plan, require_rigorous  # noqa: PLC0415 - keeps --help fast
    from llamdex_fl.privacy import calibrate as calibrated  # noqa: PLC0415

    chosen = require_rigorous(accountant)
    rate, steps = plan(records=records, batch=batch, epochs=epochs)
    rough = SampledGaussian(sampling_rate=rate, noise_multiplier=1.0, steps=steps, max_grad_norm=1.0)
    (found,) = calibrated([rough], epsilon=epsilon, delta=delta, accountant=accountant)
    if not isinstance(found, SampledGaussian):  # what goes in is what comes out
        raise TypeError(type(found).__name__)
    stated = chosen.epsilon([found], delta)
    _tell(
        {
            **_training(rate, steps, delta),
            "noise_multiplier": found.noise_multiplier,
            "epsilon": stated,
            "accountant": accountant,
            "kind": chosen.kind,
        },
        as_json=as_json,
    )


@privacy.command()
def epsilon(
    sampling_rate: Annotated[float, typer.Option(help="Each record's chance to be in a step, Q.")],
    noise_multiplier: Annotated[float, typer.Option(help="Noise over the clip norm, S.")],
    steps: Annotated[int, typer.Option(help="Steps of DP-SGD, M.")],
    delta: Delta,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a training of M steps costs: the certified epsilon, and what every other accountant says."""
    from llamdex_fl.privacy import SampledGaussian, edgeworth_estimate, epsilons_at  # noqa: PLC0415 - see above

    rows = epsilons_at(sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=steps, delta=delta)
    training = SampledGaussian(
        sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=steps, max_grad_norm=1.0
    )
    flag = edgeworth_estimate([training], delta)
    told = {
        **_training(sampling_rate, steps, delta),
        "noise_multiplier": noise_multiplier,
        "epsilon": rows["pld"].epsilon,
        "accountant": "pld",
        "kind": rows["pld"].kind,
    }
    if as_json:
        estimate = {"order": flag.order, "fourth_moment": flag.fourth_moment, "validity": flag.validity}
        _tell({**told, **_as_json(rows), "estimate": estimate}, as_json=True)
        return
    _tell(told, as_json=False)
    table = _table(f"at noise {noise_multiplier:g}", "epsilon", "seconds", "what it is")
    for name, row in rows.items():
        table.add_row(name, f"{row.epsilon:.5f}", f"{row.seconds:.3f}", _SAYS[row.kind])
    console.stdout.print(table)
    console.stdout.print(_flag(flag.fourth_moment, flag.validity), highlight=False, markup=False)


@privacy.command()
def compare(  # noqa: PLR0913 - each is an option
    records: Records,
    batch: Batch,
    epochs: Epochs,
    epsilon: Epsilon,
    delta: Delta,
    *,
    order: Annotated[int, typer.Option(help="Order of the Edgeworth estimate that is looked at: 1, 2 or 3.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture of epsilon over steps to FILE.html or FILE.svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Calibrate one training with every accountant, side by side.

    Shows the noise that each of them asks for, what it states at that noise, whether that is safe, and the saving
    against RDP. The row "edgeworth" starts from the Edgeworth estimate and moves the noise until a rigorous bound
    agrees; the text says how far, and which bound binds.
    """
    from llamdex_fl.privacy import compare as compared  # noqa: PLC0415 - keeps --help fast
    from llamdex_fl.privacy import epsilons_over_steps, plan  # noqa: PLC0415
    from silo_client.privacy_plot import require_plot, write_plot  # noqa: PLC0415

    if plot is not None:
        require_plot(plot)
    rate, steps = plan(records=records, batch=batch, epochs=epochs)
    with console.stderr.status("calibrating with each accountant"):
        found = compared(sampling_rate=rate, steps=steps, epsilon=epsilon, delta=delta, order=order)
        noise = found.rows["pld"].noise_multiplier
        marks = sorted({max(1, steps * part // _POINTS) for part in range(1, _POINTS + 1)})
        over = (
            {}
            if as_json and plot is None
            else epsilons_over_steps(sampling_rate=rate, noise_multiplier=noise, steps=marks, delta=delta)
        )
    if plot is not None:
        write_plot(plot, marks, over, noise_multiplier=noise, sampling_rate=rate, delta=delta)
    if as_json:
        console.print_json(_as_json(found.rows))
        return
    _show(found, _training(rate, steps, delta), epsilon)
    table = _table(f"at pld's noise, {noise:.4f}", *(name.removeprefix("edgeworth_") for name in over), "pld")
    for number, mark in enumerate(marks):
        values = [f"{values[number]:.3f}" for values in over.values()]
        table.add_row(f"{mark} steps", *values, Bar(max(epsilon, over["pld"][-1]), 0.0, over["pld"][number], width=30))
    console.stdout.print(table)


def _show(found: "Comparison", training: Mapping[str, Any], epsilon: float) -> None:
    console.stdout.print(
        f"{training['steps']} steps, sampling rate {training['sampling_rate']:.6g}; wanted: epsilon {epsilon:g} at "
        f"delta {training['delta']:g}, {training['adjacency']} {training['unit']}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    table = _table("accountant", "noise", "epsilon", "saves", "seconds", "what it is", "binds")
    for name, row in found.rows.items():
        table.add_row(
            name,
            f"{row.noise_multiplier:.4f}",
            f"{row.epsilon:.4f}",
            f"{100 * found.saving(name):+.1f} %",
            f"{row.seconds:.2f}",
            _SAYS[row.kind],
            found.binds if name == "edgeworth" else "",
        )
    console.stdout.print(table)
    estimate = found.estimate
    told = (
        '"Saves" is noise, against RDP at the same guarantee.\n'
        f"The Edgeworth estimate's noise, {found.rows['edgeworth_estimate'].noise_multiplier:.4f}, really costs "
        f"epsilon {estimate.epsilon:.4f} (by {estimate.binds}), so the noise was {found.change} to "
        f"{found.rows['edgeworth'].noise_multiplier:.4f}, where {found.binds} binds. At the former, the estimate of "
        f"order {estimate.estimate.order} is {estimate.estimate.epsilon:.4f}, the bound {estimate.upper_bound:.4f}."
    )
    console.stdout.print(told, highlight=False, markup=False)
    console.stdout.print(
        _flag(estimate.estimate.fourth_moment, estimate.estimate.validity), highlight=False, markup=False
    )


def _training(rate: float, steps: int, delta: float) -> dict[str, Any]:
    """What must stand beside every epsilon."""
    from llamdex_fl.privacy import ADJACENCY, UNIT  # noqa: PLC0415 - keeps --help fast

    return {"sampling_rate": rate, "steps": steps, "delta": delta, "adjacency": ADJACENCY, "unit": UNIT}


def _tell(told: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.print_json(_finite(told))
        return
    for name, value in told.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        console.stdout.print(f"{name.replace('_', ' ') + ':':<18}{text}", highlight=False, markup=False)


def _as_json(rows: "Mapping[str, Row]") -> dict[str, Any]:
    return {name: _finite(asdict(row)) for name, row in rows.items()}


def _finite(told: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null says that no finite epsilon is stated."""
    return {name: None if value == float("inf") else value for name, value in told.items()}


def _table(first: str, *headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in {"what it is", "binds"} else "right")
    return table


def _flag(fourth_moment: float, validity: str) -> str:
    return f"Edgeworth validity: {validity} (K4/m {fourth_moment:.3f}; valid to 0.08, invalid above 0.1)."
