"""The public constants of text architectures: which layer of which frozen encoder is fine-tuned, and how.

A text expert is an encoder cut after one of its layers. All below that layer is frozen and public. The layer itself is
evaluated for one query a text: the mean of the text's states where the encoder sees both ways, the last token's state
where it sees back only. Its linear maps are W + (alpha / rank) B A with A and B trained and W public (low-rank
adaptation, Hu and others, arXiv 2106.09685v2, section 4.1). What the query attends to stays as it is, keys and values
too, so a training computes it once a record, whatever the number of steps. No torch here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["MINILM_LORA", "SMOLLM2_LORA", "TEXT_ARCHITECTURES", "TextArchitecture"]

#: MiniLM (22.7M parameters), cut after its fifth layer of six.
MINILM_LORA = "minilm_lora/v1"
#: SmolLM2-135M, cut after its sixteenth layer of thirty.
SMOLLM2_LORA = "smollm2_lora/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextArchitecture:
    """What a name of a text architecture stands for.

    Attributes:
        base: the frozen model.
        width: H, of its states.
        layer: counted from 0, the one that is fine-tuned; those above are not used.
        targets: its linear maps that get low-rank parameters, with numbers of inputs and outputs.
        rank: of B A.
        alpha: B A is multiplied by alpha / rank.
        most_tokens: what comes after them is not read.
    """

    base: Literal["minilm", "smollm2"]
    width: int
    layer: int
    targets: Mapping[str, tuple[int, int]]
    rank: int = 4
    alpha: float = 16.0
    most_tokens: int = 256

    def tensor_shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        """A and B of every target, and the softmax's tensors, by name; it reads query and output."""
        shapes: dict[str, tuple[int, ...]] = {}
        for target, (inputs, outputs) in self.targets.items():
            shapes[f"lora.{self.layer}.{target}.a"] = (self.rank, inputs)
            shapes[f"lora.{self.layer}.{target}.b"] = (outputs, self.rank)
        shapes["head.weight"] = (classes, 2 * self.width)
        shapes["head.bias"] = (classes,)
        return shapes


TEXT_ARCHITECTURES: Mapping[str, TextArchitecture] = MappingProxyType(
    {
        MINILM_LORA: TextArchitecture(
            base="minilm",
            width=384,
            layer=4,
            targets={
                "query": (384, 384),
                "attended": (384, 384),
                "up": (384, 1536),
                "down": (1536, 384),
            },
        ),
        SMOLLM2_LORA: TextArchitecture(
            base="smollm2",
            width=576,
            layer=15,
            targets={
                "query": (576, 576),
                "attended": (576, 576),
                "gate": (576, 1536),
                "up": (576, 1536),
                "down": (1536, 576),
            },
        ),
    }
)
