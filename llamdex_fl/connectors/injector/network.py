"""The injector's network: how likely each outcome is becomes a few token vectors, for the LLM to read.

The schema's outcomes stand in the prompt as plain sentences, before the question. The injected tokens follow it:

- a mark an outcome: the LLM's own embedding of the token with which the outcome's sentence begins, turned so that the
  LLM is called to say it, and a vector that tells how likely the experts find it;
- a few mixtures: sums of these embeddings, each turned in its own way and weighted by how likely its outcome is.

What turns an embedding into a call to say its token is the same for all words, so it is learnt once, from many. The
injector knows no class numbers and no schema: one serves every schema, silo and expert of one base LLM, and a new
domain joins without training it.

Shape suffixes: K outcomes that are marked, M mixtures, D width of the LLM, F features of an outcome.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llamdex_fl.errors import ArtefactError

__all__ = ["MIXTURES", "Injector"]

#: Injected tokens beside the marks, whatever the number of outcomes.
MIXTURES = 3
_FORMAT = 5
_FLOOR = 1e-4
_STEPS = 16
_WORD = 64
_CHANCE = _STEPS + 3
_SET = 4
_HIDDEN = (256, 512)
# How strongly mixtures take an outcome before training, by its probability and by its log-probability.
_FIRST_ODDS = 0.3
_NOISE = 0.01
_CONSTANT = 0.5


class Injector(nn.Module):
    """Turns outcomes' probabilities into token vectors at the scale of the LLM's own embeddings."""

    scale: Tensor

    def __init__(self, width: int, scale: float, base_digest: str, *, layer: int = 0) -> None:
        """Make an untrained injector.

        Args:
            width: D, width of the LLM's input embeddings.
            scale: root mean square of the LLM's embeddings, or of its states before ``layer``: the tokens' first size.
            base_digest: digest of the LLM that it is for.
            layer: before which decoder layer its vectors go in; 0: as input embeddings.
        """
        super().__init__()
        self.base_digest = base_digest
        self.layer = layer
        self.register_buffer("scale", torch.tensor(scale))
        features = _CHANCE + _SET + _WORD
        self.word = nn.Linear(width, _WORD)
        self.strength = nn.Sequential(nn.Linear(features, _HIDDEN[0]), nn.GELU(), nn.Linear(_HIDDEN[0], MIXTURES + 1))
        self.mark = nn.Sequential(nn.Linear(features, _HIDDEN[1]), nn.GELU(), nn.Linear(_HIDDEN[1], width))
        self.odds = nn.Parameter(torch.full((MIXTURES,), _FIRST_ODDS))
        self.constant = nn.Parameter(torch.randn(MIXTURES, width) * _CONSTANT)
        self.turns = nn.Parameter(
            torch.eye(width).repeat(MIXTURES, 1, 1) + torch.randn(MIXTURES, width, width) * _NOISE
        )
        self.mark_turn = nn.Parameter(torch.eye(width) + torch.randn(width, width) * _NOISE)

    def forward(self, probability_K: Tensor, words_KD: Tensor) -> Tensor:
        """Tokens (K + MIXTURES, D) for outcomes' probabilities.

        Args:
            probability_K: probabilities of the outcomes that are marked; they sum to 1.
            words_KD: the LLM's input embedding of the token with which each outcome's sentence begins; for a deeper
                layer, its state there.
        """
        unit_KD = words_KD / words_KD.pow(2).mean(-1, keepdim=True).clamp(min=1e-12).sqrt()
        log_K = probability_K.clamp(min=_FLOOR).log()
        centred_K1 = (log_K - log_K.mean())[:, None]
        features_KF = torch.cat(
            [
                _chance_features(probability_K),
                centred_K1 / 5,
                _set_features(probability_K, log_K).expand(len(log_K), -1),
                self.word(unit_KD) / 4,
            ],
            dim=1,
        )
        strength = self.strength(features_KF)
        marks_KD = unit_KD @ self.mark_turn * (1 + strength[:, MIXTURES:]) + self.mark(features_KF)
        weights_KM = strength[:, :MIXTURES] + probability_K[:, None] + self.odds * centred_K1
        mixtures_MD = torch.einsum("km,kd,mde->me", weights_KM, unit_KD, self.turns) + self.constant
        return torch.cat([marks_KD, mixtures_MD]) * self.scale

    def save(self, folder: Path) -> None:
        """Write the injector into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / "injector.safetensors")
        document = {
            "format": _FORMAT,
            "base_digest": self.base_digest,
            "width": self.mark_turn.shape[0],
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
            layer = int(document["layer"])
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


def _chance_features(probability_K: Tensor) -> Tensor:
    """(K, S + 2): log-odds as a soft thermometer, and raw, and the probability itself."""
    clamped = probability_K.clamp(_FLOOR, 1 - _FLOOR)
    odds_K1 = (clamped.log() - (1 - clamped).log())[..., None]
    thresholds_S = torch.linspace(-6, 6, _STEPS, device=odds_K1.device)
    return torch.cat([torch.sigmoid(2 * (odds_K1 - thresholds_S)), odds_K1 / 5, probability_K[..., None]], dim=-1)


def _set_features(probability_K: Tensor, log_K: Tensor) -> Tensor:
    """(4): entropy, the largest probability, the logarithm of the number of outcomes, the sum of squares."""
    count = torch.tensor(float(len(log_K)), device=log_K.device)
    return torch.stack([-(probability_K * log_K).sum(), probability_K.max(), count.log(), probability_K.square().sum()])
