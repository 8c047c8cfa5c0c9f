"""Puts together what ``generate`` gave for some prompts of a batch and for the others.

Shape suffixes: B prompts, R sequences for each, T tokens of the batch's longest prompt, N new tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Part", "together"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What was generated for some prompts.

    Attributes:
        into: places of these prompts in the batch.
        output: of ``generate``: token ids, or an output with ``sequences``.
        of: places of the same prompts in the output.
        prompts: how many prompts the output is of.
        length: tokens of a prompt before the new tokens in it.
    """

    into: Sequence[int]
    output: Any
    of: Sequence[int]
    prompts: int
    length: int

    @property
    def sequences(self) -> Tensor:
        """Token ids."""
        own: Tensor = self.output if isinstance(self.output, Tensor) else self.output.sequences
        return own

    @property
    def copies(self) -> int:
        """R, sequences for each prompt."""
        return len(self.sequences) // self.prompts

    def put(self, all_: Tensor, own: Tensor) -> None:
        """Write the part's rows (B R, ...) where they belong in the whole batch's."""
        copies = range(len(own) // self.prompts)
        into = [place * len(copies) + copy for place in self.into for copy in copies]
        of = [place * len(copies) + copy for place in self.of for copy in copies]
        all_[into] = own[of].to(all_.device)


def together(ids_BT: Tensor, parts: Sequence[Part], filler: int = 0) -> Any:  # noqa: ANN401 - as generate gives
    """One output for the batch: each prompt as it was given, and after it what was generated for it.

    Args:
        ids_BT: the prompts.
        parts: at least one; each prompt stands in one of them.
        filler: token after a shorter sequence's end.
    """
    first, copies = parts[0].output, parts[0].copies
    longest = max(part.sequences.shape[1] - part.length for part in parts)
    new_BN = ids_BT.new_full((len(ids_BT) * copies, longest), filler)
    for part in parts:
        own_BN = part.sequences[:, part.length :]
        part.put(new_BN[:, : own_BN.shape[1]], own_BN)
    sequences = torch.cat([ids_BT.repeat_interleave(copies, dim=0), new_BN], dim=1)
    if isinstance(first, Tensor):
        return sequences
    fields: dict[str, Any] = {"sequences": sequences}
    for name in ("logits", "scores"):
        if first.get(name) is not None:
            fields[name] = _steps(parts, name, len(ids_BT))
    if first.get("sequences_scores") is not None:
        fields["sequences_scores"] = first.sequences_scores.new_zeros(len(sequences))
        for part in parts:
            part.put(fields["sequences_scores"], part.output.sequences_scores)
    return type(first)(**fields)


def _steps(parts: Sequence[Part], name: str, prompts: int) -> tuple[Tensor, ...]:
    """(B R, V) for each step; 0 where a prompt took no such step. With beams R is their number."""
    steps = []
    for step in range(max(len(part.output[name]) for part in parts)):
        some = next(part for part in parts if step < len(part.output[name]))
        own_BV = some.output[name][step]
        all_BV = own_BV.new_zeros(prompts * (len(own_BV) // some.prompts), own_BV.shape[1])
        for part in parts:
            if step < len(part.output[name]):
                part.put(all_BV, part.output[name][step])
        steps.append(all_BV)
    return tuple(steps)
