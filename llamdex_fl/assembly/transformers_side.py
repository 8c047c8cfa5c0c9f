"""What an assembly offers to users of transformers: folders, ``generate``, streams, and itself as a model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from llamdex_fl.assembly.prompts import left_padded
from llamdex_fl.assembly.saved import load_parts, save_assembly
from llamdex_fl.assembly.seats import Seat
from llamdex_fl.assembly.speaking import Injection, Speaker
from llamdex_fl.assembly.streaming import streamed
from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.errors import InputError

if TYPE_CHECKING:
    from llamdex_fl.assembly.assembled import AssembledLlamdex
    from llamdex_fl.assembly.causal_lm import LlamdexForCausalLM

__all__ = ["TransformersSide"]

#: A chat: its turns, each with "role" and "content".
Messages = Sequence[Mapping[str, str]]


class TransformersSide(ABC):
    """The part of ``AssembledLlamdex`` that transformers' users know already."""

    base: BaseLLM
    reader: Reader
    injector: Injector
    speaker: Speaker

    @abstractmethod
    def check(self, question: str, max_new_tokens: int = 48) -> None:
        """Refuse a question that the LLM cannot take."""

    @abstractmethod
    def injections(
        self, questions: Sequence[str], *, askers: Sequence[str | None] | None = None
    ) -> list[Injection | None]:
        """What the experts say to each question; None where no schema answers it."""

    @property
    @abstractmethod
    def schemas(self) -> list[str]:
        """Names of the schemas that have at least one expert."""

    @abstractmethod
    def seats(self, schema: str) -> tuple[Seat, ...]:
        """The experts of a schema."""

    @cached_property
    def causal_lm(self) -> "LlamdexForCausalLM":
        """This assembly as a model of transformers."""
        from llamdex_fl.assembly.causal_lm import LlamdexForCausalLM  # noqa: PLC0415 - it is made of this class

        return LlamdexForCausalLM(cast("AssembledLlamdex", self))

    def generate(
        self,
        input_ids: Tensor | None = None,
        *,
        messages: Messages | Sequence[Messages] | None = None,
        **kwargs: Any,  # noqa: ANN401 - what transformers' generate takes
    ) -> Any:  # noqa: ANN401 - as transformers' generate gives
        """Generate token ids as transformers does; see ``LlamdexForCausalLM.generate``.

        Args:
            input_ids: (B, T) prompts, padded on either side.
            messages: instead of them, a chat or several, as ``[{"role": "user", "content": "..."}]``.
            kwargs: as in transformers.

        Raises:
            InputError: a prompt that a schema answers is too long, or there is neither a prompt nor a chat.
        """
        if messages is not None:
            kwargs |= _chat_inputs(self.base, messages)
        elif input_ids is not None:
            kwargs["input_ids"] = input_ids
        return self.causal_lm.generate(**kwargs)

    def stream(
        self,
        question: str,
        *,
        asker: str | None = None,
        max_new_tokens: int = 48,
        **kwargs: Any,  # noqa: ANN401
    ) -> Iterator[str]:
        """The answer to a question in pieces of text, as they are generated; greedily, unless ``do_sample=True``.

        Raises:
            InputError: the question is empty, or longer than what LLM or reader take.
        """
        self.check(question, max_new_tokens)
        return streamed(
            self.causal_lm,
            self.base.tokenizer,
            {
                "input_ids": self.base.prompt_ids(question),
                "askers": [asker],
                "max_new_tokens": max_new_tokens,
                "do_sample": False,
                **kwargs,
            },
        )

    def save_pretrained(self, folder: str | Path, *, include_base: bool = False) -> None:
        """Write the assembly into a folder, whole or not at all, in the place of an older one.

        Args:
            folder: what ``from_pretrained`` and transformers' Auto classes load: safetensors and JSON.
            include_base: whether the base LLM's weights go along. Otherwise its name and digest do.

        Raises:
            ConfigError: the folder holds something else.
        """
        save_assembly(self, Path(folder), include_base=include_base)

    @staticmethod
    def from_pretrained(
        folder: str | Path, *, base: BaseLLM | str | None = None, dtype: torch.dtype | None = None
    ) -> "AssembledLlamdex":
        """Load what ``save_pretrained`` wrote; its answers are the same.

        Args:
            folder: the folder.
            base: the base LLM, or where it is; None: the one that the folder holds or names.
            dtype: type of the base LLM's weights in memory; None: as it was when the assembly was saved.

        Raises:
            ArtefactError: files are missing, damaged, of another version, or for another base LLM.
        """
        from llamdex_fl.assembly.assembled import AssembledLlamdex  # noqa: PLC0415 - it is a kind of this class

        parts = load_parts(Path(folder), base=base, dtype=dtype)
        assembly = AssembledLlamdex(parts.base, parts.reader, parts.injector)
        for name, value in parts.speaker.items():
            setattr(assembly.speaker, name, value)
        for seat in parts.seats:
            assembly.seat(seat.expert.schema.name, seat)
        return assembly

    def renew_speaker(self) -> None:
        """Forget what is kept of prompts, after the LLM went to another device or type."""
        old = self.speaker
        self.speaker = Speaker(self.base, self.injector, corrections=old.corrections, tolerance=old.tolerance)


def _chat_inputs(base: BaseLLM, messages: Messages | Sequence[Messages]) -> dict[str, Tensor]:
    """Prompts of chats, padded on the left: ``input_ids`` (B, T) and ``attention_mask``."""
    if not messages:
        raise InputError(
            "There is no chat.", expected='[{"role": "user", "content": ...}]', got="nothing", next_step="ask something"
        )
    chats = [messages] if isinstance(messages[0], Mapping) else messages
    rows = []
    for chat in chats:
        text = base.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        rows.append(torch.tensor(base.answer_ids(text)))
    ids_BT, mask_BT = left_padded(rows, int(base.tokenizer.eos_token_id))
    return {"input_ids": ids_BT.to(base.model.device), "attention_mask": mask_BT.to(base.model.device)}
