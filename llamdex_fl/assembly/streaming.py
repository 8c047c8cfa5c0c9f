"""Answers in pieces, as they are generated: transformers' streamer in a thread, seen as an iterator of texts."""

from collections.abc import Iterator, Mapping
from threading import Event, Thread
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import TextIteratorStreamer

__all__ = ["streamed"]


def streamed(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]) -> Iterator[str]:
    """What ``model.generate(**arguments)`` writes after its prompt.

    Whoever stops reading stops the generation, at its next token. An error in it is raised here.
    """
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    left, failed = Event(), []

    def run() -> None:
        criteria = StoppingCriteriaList([*(arguments.get("stopping_criteria") or ()), _Left(left)])
        try:
            model.generate(**{**arguments, "streamer": streamer, "stopping_criteria": criteria})
        except Exception as error:  # noqa: BLE001 - it is raised again, in the reader's thread
            failed.append(error)
            streamer.end()

    thread = Thread(target=run, name="llamdex-stream", daemon=True)
    thread.start()
    try:
        for piece in streamer:
            if piece:
                yield piece
    finally:
        left.set()
        thread.join()
    if failed:
        raise failed[0]


class _Left(StoppingCriteria):  # type: ignore[misc]
    """Ends all rows when nobody reads any more."""

    def __init__(self, left: Event) -> None:
        self._left = left

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_kwargs: Any) -> torch.Tensor:  # noqa: ANN401, ARG002 - theirs
        return torch.full((len(input_ids),), self._left.is_set(), dtype=torch.bool, device=input_ids.device)
