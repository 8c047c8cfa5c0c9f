"""``llamdex-sim train-injector``: the injector that comes with the package, trained again."""

from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from llamdex_fl.base_llm.names import PACKAGED_MODEL
from llamdex_fl.errors import InputError
from simulations.cli.main import app

__all__ = ["train_injector"]


@app.command()
def train_injector(
    out: Annotated[Path, typer.Option(help="A folder to write a folder into, named by the base LLM's digest.")],
    *,
    base: Annotated[str, typer.Option(help="The base LLM: the packaged one's name, or a directory.")] = PACKAGED_MODEL,
    seed: Annotated[int, typer.Option(min=0, help="Of the questions, the outputs and the initial weights.")] = 0,
    without: Annotated[
        list[str] | None, typer.Option(help="A schema to leave out of the practice; again for each.")
    ] = None,
) -> None:
    """Train an injector for a base LLM and store it in half precision: some 20 minutes of one core.

    No schema of a provider and no expert is needed: it practises on questions that are made up, with made-up outcomes
    beside those of the project's own schemas. Leave some of these out to see how it serves what it has not met.
    """
    # Imported here: they load torch, and --help must not.
    from llamdex_fl.base_llm.base import load_base_llm  # noqa: PLC0415
    from llamdex_fl.connectors import injector as connectors  # noqa: PLC0415
    from llamdex_fl.connectors.injector.trained import trained_injector_name  # noqa: PLC0415
    from llamdex_fl.connectors.questions import training_wording  # noqa: PLC0415
    from llamdex_fl.schema import load_library_schema  # noqa: PLC0415
    from provider_server.fitting import PRACTICE_SCHEMAS  # noqa: PLC0415
    from silo_client.dp_optimizer import one_thread  # noqa: PLC0415

    if unknown := sorted(set(without or ()) - set(PRACTICE_SCHEMAS)):
        raise InputError(
            "There are no such schemas in the practice to leave out.",
            expected=", ".join(PRACTICE_SCHEMAS),
            got=", ".join(unknown),
            next_step="give --without one of these names",
        )
    llm = load_base_llm(base)
    wordings = [training_wording(load_library_schema(own)) for own in PRACTICE_SCHEMAS if own not in (without or ())]
    recipe = connectors.InjectorRecipe(seed=seed)
    with console.progress() as shown, one_thread():
        task = shown.add_task("injector", total=recipe.steps)
        trained = connectors.train_injector(
            llm, wordings, recipe=recipe, on_step=lambda done, total, _: shown.update(task, completed=done, total=total)
        )
    folder = out / trained_injector_name(llm.digest)
    trained.half().save(folder)
    console.stdout.print(f"injector for {llm.name}: {folder}")
