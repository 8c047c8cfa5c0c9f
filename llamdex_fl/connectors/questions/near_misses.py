"""Questions that hold a record of a schema and ask for something else: "translate this", "how many words are these?".

The router learns from them, beside the near misses that people wrote (``ordinary_questions``), that a record's words
alone do not make a question that an expert answers.
"""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files

from llamdex_fl.connectors.questions.generator import QuestionGenerator
from llamdex_fl.connectors.questions.wording import Wording

__all__ = ["NearMisses"]


class NearMisses:
    """Makes near misses of some schemas up."""

    def __init__(self, wordings: Sequence[Wording]) -> None:
        """Take the wordings whose records are to be spoken of."""
        text = (files("llamdex_fl.connectors.questions") / "wording" / "other_tasks.toml").read_text(encoding="utf-8")
        tasks = tomllib.loads(text)
        asked = {"sentence": tuple(tasks["sentence"]), "short": tuple(tasks["short"]), "front": ()}
        self._around = tasks["around"]
        self._whole = [QuestionGenerator(wording) for wording in wordings]
        self._other = [QuestionGenerator(replace(wording, ask=asked)) for wording in wordings]

    def sample(self, rng: random.Random) -> str:
        """A near miss."""
        place = rng.randrange(len(self._whole))
        if rng.random() < 0.4:  # noqa: PLR2004 - the whole question, as something to work on
            text: str = rng.choice(self._around).replace("{text}", self._whole[place].sample(rng).text)
            return text
        return self._other[place].sample(rng).text
