"""The program ``llamdex-sim``: one module a group of commands, each registered in ``app``."""

from simulations.cli import (
    bench,
    combination_recipe,
    compare,
    demo,
    demo_all,
    demo_text,
    paper,
    poisoning,
    reader_joining,
    reader_judged,
    reader_recipe,
    review,
    robustness_recipe,
    run,
    seeds,
    tabular,
    train_injector,
)
from simulations.cli.main import main

__all__ = [
    "bench",
    "combination_recipe",
    "compare",
    "demo",
    "demo_all",
    "demo_text",
    "main",
    "paper",
    "poisoning",
    "reader_joining",
    "reader_judged",
    "reader_recipe",
    "review",
    "robustness_recipe",
    "run",
    "seeds",
    "tabular",
    "train_injector",
]
