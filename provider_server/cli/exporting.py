"""``llamdex-provider export``: the assembly as a folder that transformers loads."""

from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from provider_server.cli.answering import Home, Json, found_home
from provider_server.cli.main import app

__all__ = ["export"]


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write it; an older export there is replaced.")],
    home: Home = None,
    *,
    include_base: Annotated[
        bool, typer.Option("--include-base", help="Write the base LLM's weights too: the folder needs nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the assembly, with every expert that may speak now, as a folder that transformers loads.

    The folder is a copy: experts that are withdrawn later still speak in it. Load it with
    AutoModelForCausalLM.from_pretrained(FOLDER) after "import llamdex_fl.assembly"; see docs/huggingface.md.
    """
    from provider_server.config import load_provider_config  # noqa: PLC0415 - torch, not for --help
    from provider_server.live_assembly import open_assembly  # noqa: PLC0415

    assembly = open_assembly(load_provider_config(found_home(home)))
    assembly.save_pretrained(folder, include_base=include_base)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    seats = {schema: [seat.silo for seat in assembly.seats(schema)] for schema in assembly.schemas}
    if as_json:
        console.print_json(
            {
                "folder": str(folder),
                "bytes": size,
                "base_llm": {"name": assembly.base.name, "digest": assembly.base.digest, "included": include_base},
                "experts": seats,
            }
        )
        return
    console.stdout.print(f"{folder}: {size / 1e6:.1f} MB", highlight=False, markup=False)
    for schema, silos in seats.items():
        console.stdout.print(f"{schema}: {', '.join(silos)}", highlight=False, markup=False)
    if not include_base:
        console.stdout.print(f"It needs the base LLM {assembly.base.name} beside it.", highlight=False, markup=False)
