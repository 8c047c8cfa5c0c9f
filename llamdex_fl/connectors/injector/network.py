"""The injector's network: how likely each outcome is becomes one token vector an outcome, for the LLM to read.

The schema's outcomes stand in the prompt as plain sentences, after the question. The injected tokens follow, one
an outcome: the LLM's own embedding of the token with which the outcome's sentence begins, and a mark that says how
likely the experts find it; then a few that are always the same. The LLM copies the sentence whose mark is strongest.
So the injector itself knows no words, no class numbers and no schema: one serves every schema, silo and expert of one
base LLM, and a new domain joins without training it.

Shape suffixes: N outcomes, D width of the LLM.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llamdex_fl.errors import ArtefactError

__all__ = ["CALLS", "Injector"]

_HIDDEN = 256
_STEPS = 16
_FORMAT = 3
#: Learnt tokens after the marks, the same for every question: they call for one of the sentences.
CALLS = 2
_FLOOR = 1e-4


class Injector(nn.Module):
    """Turns outcomes' probabilities into token vectors at the scale of the LLM's own embeddings."""

    scale: Tensor

    def __init__(self, width: int, scale: float, base_digest: str, *, layer: int = 0) -> None:
        """Make an untrained injector.

        Args:
            width: D, width of the LLM's input embeddings.
            scale: root mean square of the LLM's embeddings, or of its states before ``layer``: the marks' first size.
            base_digest: digest of the LLM that it is for.
            layer: before which decoder layer its vectors go in; 0: as input embeddings.
        """
        super().__init__()
        self.base_digest = base_digest
        self.layer = layer
        self.register_buffer("scale", torch.tensor(scale))
        self.mark = nn.Sequential(
            nn.Linear(_STEPS + 2, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, width), nn.LayerNorm(width)
        )
        self.call = nn.Parameter(torch.randn(CALLS, width))

    def forward(self, probability_N: Tensor, words_ND: Tensor) -> Tensor:
        """Tokens (N + CALLS, D) for outcomes' probabilities.

        Args:
            probability_N: probabilities of the outcomes that stand in the prompt; they sum to 1.
            words_ND: the LLM's input embedding of the token with which each outcome's sentence begins; for a deeper
                layer, its state there.
        """
        marks_ND: Tensor = self.mark(_chance_features(probability_N)) * self.scale
        return torch.cat([words_ND + marks_ND, self.call * self.scale])

    def save(self, folder: Path) -> None:
        """Write the injector into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / "injector.safetensors")
        document = {
            "format": _FORMAT,
            "base_digest": self.base_digest,
            "width": self.mark[2].out_features,
            "layer": self.layer,
        }
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
            layer = int(document.get("layer", 0))
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
        injector = cls(width, 1.0, base_digest, layer=layer)
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


def _chance_features(probability_N: Tensor) -> Tensor:
    """(N, S + 2): log-odds as a soft thermometer, and raw, and the probability itself."""
    clamped = probability_N.clamp(_FLOOR, 1 - _FLOOR)
    odds_N1 = (clamped.log() - (1 - clamped).log())[..., None]
    thresholds_S = torch.linspace(-6, 6, _STEPS, device=odds_N1.device)
    return torch.cat([torch.sigmoid(2 * (odds_N1 - thresholds_S)), odds_N1 / 5, probability_N[..., None]], dim=-1)
