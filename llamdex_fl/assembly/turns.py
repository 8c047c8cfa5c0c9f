"""Finds what a user asked last in the tokens of a chat, whatever chat template wrote them.

A template is asked to write a marker in three chats: what it puts before the marker in all of them opens a user's turn,
what it puts after it closes the turn and opens the assistant's. Tokens that do not end so are no question to answer:
a bare text to go on with, or an assistant's turn that was begun for it.
"""

from collections.abc import Sequence

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

__all__ = ["Turns"]

# Private-use characters: no template and no person writes them.
_MARK = "\ue0f2\ue0f3"
_CHATS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("user", _MARK),),
    (("user", "a"), ("assistant", "b"), ("user", _MARK)),
    (("system", "c"), ("user", _MARK)),
)


class Turns:
    """Knows how a tokenizer's chat template opens and closes a user's turn."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Ask the template."""
        self._tokenizer = tokenizer
        before, after = [], []
        for chat in _CHATS:
            messages = [{"role": role, "content": content} for role, content in chat]
            try:
                text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except TemplateError:
                continue  # not every template has a system's turn
            opened, mark, closed = text.rpartition(_MARK)
            if mark:
                before.append(opened)
                after.append(closed)
        # Blanks are left out: what decodes tokens may add or drop some of them.
        self._opening = _common_end(before).strip()
        self._closing = after[0].strip() if after else ""

    def question(self, ids: Sequence[int]) -> str | None:
        """What the user asked last; None if the assistant's turn does not begin after these tokens.

        Args:
            ids: tokens of one chat, without padding.
        """
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        text = text.rstrip()
        if not self._opening or not self._closing or not text.endswith(self._closing):
            return None
        _, opening, question = text.removesuffix(self._closing).rpartition(self._opening)
        return question.strip() or None if opening else None


def _common_end(texts: Sequence[str]) -> str:
    """The longest text that all of them end with."""
    shortest = min(texts, key=len, default="")
    return next(
        (shortest[start:] for start in range(len(shortest)) if all(text.endswith(shortest[start:]) for text in texts)),
        "",
    )
