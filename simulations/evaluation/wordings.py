"""Where the wordings lie that training code cannot import, by other hands than the training wordings."""

from pathlib import Path

__all__ = ["DEVELOPMENT_WORDINGS", "WORDINGS"]

#: Held-out wordings: one TOML file a schema, and ``ordinary.txt``, questions that no schema answers. They judge, and
#: nothing is chosen by them: a recipe that was chosen by them needs new ones, and they become development wordings.
WORDINGS = Path(__file__).parent / "wording"

#: Wordings in which the recipes of reader and injector were compared.
DEVELOPMENT_WORDINGS = Path(__file__).parent / "development_wording"
