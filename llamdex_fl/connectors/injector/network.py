"""The injector's network: class probabilities and the answers' own words become a few token vectors for the LLM.

It knows no class numbers and no schema. Each class becomes one token, made of the LLM's embedding of that class's
answer and of how likely the expert finds it; two more tokens carry a summary. So one injector serves every schema,
silo and expert of one base LLM, and a new domain joins without training it.

Shape suffixes: B questions, N classes, K injected tokens (N + 2), D width of the LLM, H hidden width.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llamdex_fl.errors import ArtefactError

__all__ = ["Injector"]

_HIDDEN = 256
_SUMMARY = 2
_STEPS = 16
_FORMAT = 1
_FLOOR = 1e-4


class Injector(nn.Module):
    """Turns expert outputs into token vectors at the scale of the LLM's own embeddings."""

    scale: Tensor

    def __init__(self, width: int, scale: float, base_digest: str) -> None:
        """Make an untrained injector.

        Args:
            width: D, width of the LLM's input embeddings.
            scale: root mean square of the LLM's embeddings; injected tokens start at this size.
            base_digest: digest of the LLM that it is for.
        """
        super().__init__()
        self.base_digest = base_digest
        self.register_buffer("scale", torch.tensor(scale))
        self.from_word = nn.Linear(width, _HIDDEN)
        self.from_chance = nn.Linear(_STEPS + 2, _HIDDEN)
        self.to_class = nn.Sequential(nn.GELU(), nn.Linear(_HIDDEN, width), nn.LayerNorm(width))
        self.to_summary = nn.Sequential(nn.GELU(), nn.Linear(_HIDDEN, _SUMMARY * width))
        self.summary_norm = nn.LayerNorm(width)

    def forward(self, probability_BN: Tensor, words_ND: Tensor) -> Tensor:
        """Tokens (B, K, D) for expert outputs.

        Args:
            probability_BN: probabilities of the classes, rows sum to 1.
            words_ND: the LLM's mean input embedding of each class's answer.
        """
        chance_BNS = _chance_features(probability_BN)
        hidden_BNH = self.from_word(words_ND / self.scale) + self.from_chance(chance_BNS)
        classes_BND = self.to_class(hidden_BNH)
        weighted_BH = (hidden_BNH * probability_BN[..., None]).sum(1)
        summary_BKD = self.to_summary(weighted_BH).unflatten(-1, (_SUMMARY, -1))
        tokens_BKD = torch.cat([classes_BND, self.summary_norm(summary_BKD)], dim=1)
        return tokens_BKD * self.scale

    def save(self, folder: Path) -> None:
        """Write the injector into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / "injector.safetensors")
        document = {"format": _FORMAT, "base_digest": self.base_digest, "width": self.from_word.in_features}
        (folder / "injector.json").write_text(json.dumps(document), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, base_digest: str) -> "Injector":
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: there is none, or it was made for another base LLM.
        """
        try:
            document = json.loads((folder / "injector.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "injector.safetensors")
            version, made_for, width = document["format"], str(document["base_digest"]), int(document["width"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtefactError(
                f"{folder} does not hold an injector.",
                expected="the files injector.json and injector.safetensors",
                got=type(error).__name__,
                next_step="train the connectors: llamdex-provider connect",
            ) from error
        if version != _FORMAT or made_for != base_digest:
            raise ArtefactError(
                f"The injector in {folder} is for another base LLM or of another version.",
                expected=f"format {_FORMAT}, base LLM {base_digest[:12]}",
                got=f"format {version}, base LLM {made_for[:12]}",
                next_step="train the connectors again: llamdex-provider connect",
            )
        injector = cls(width, 1.0, base_digest)
        try:
            injector.load_state_dict(tensors)
        except RuntimeError as error:
            raise ArtefactError(
                f"The injector in {folder} is damaged.",
                expected=f"tensors for width {width}",
                got="others",
                next_step="train the connectors again: llamdex-provider connect --fresh",
            ) from error
        return injector.eval()


def _chance_features(probability_BN: Tensor) -> Tensor:
    """(B, N, S + 2): log-odds as a soft thermometer, and raw, and the probability itself."""
    clamped = probability_BN.clamp(_FLOOR, 1 - _FLOOR)
    odds_BN1 = (clamped.log() - (1 - clamped).log())[..., None]
    thresholds_S = torch.linspace(-6, 6, _STEPS, device=odds_BN1.device)
    return torch.cat([torch.sigmoid(2 * (odds_BN1 - thresholds_S)), odds_BN1 / 5, probability_BN[..., None]], dim=-1)
