"""Questions in wordings that no connector was trained on, written by other hands than the training wordings."""

from pathlib import Path

__all__ = ["WORDINGS"]

#: Held-out wordings: one TOML file a schema, and ``ordinary.txt``, questions that no schema answers.
WORDINGS = Path(__file__).parent / "wording"
