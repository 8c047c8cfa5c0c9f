"""The figures of the demo's report, from what the stages left."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.assembly import AssembledLlamdex
from llamdex_fl.experts import one_against_rest
from llamdex_fl.privacy import SampledGaussian
from provider_server.registry import ReleaseRecord
from simulations.datasets import LabelledRecord, Split

__all__ = ["Measured", "figures"]

_NOT_OF_THE_SECOND = {"answers", "latency", "base_llm_accuracy", "base_llm_forced_choice_accuracy"}
_PACKAGES = ("llamdex-fl", "flwr", "torch", "transformers", "opacus", "grpcio", "cryptography", "dp-accounting")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What the stages measured.

    Attributes:
        assembly: the LLM with its experts.
        splits: each hospital's patients, those for training and those that were held out.
        releases: the hospitals' accepted releases.
        base: what ``evaluate_base`` reported on questions about patients.
        patients, passengers: what ``evaluate`` reported on the two domains.
        ordinary: what became of ordinary questions.
    """

    assembly: AssembledLlamdex
    splits: Mapping[str, Split]
    releases: Mapping[str, ReleaseRecord]
    base: Mapping[str, Any]
    patients: Mapping[str, Any]
    passengers: Mapping[str, Any]
    ordinary: Mapping[str, Any]


def figures(measured: Measured) -> dict[str, Any]:
    """The report's figures, all of them on held-out records."""
    held_out = [(silo, record) for silo, own in measured.splits.items() for record in own.held_out]
    truth_n = np.array([record.label for _, record in held_out])
    patients, base = measured.patients, measured.assembly.base
    return {
        "silos": _silos(measured, held_out, truth_n),
        "assembled": {
            "questions": patients["questions"],
            "accuracy": patients["answer_accuracy"],
            "auc": patients["answer_auc"],
            "sentence_rate": patients["answer_sentence_rate"],
            "asked_again_rate": patients["asked_again_rate"],
            "expert_accuracy_true_features": patients["expert_accuracy_true_features"],
            "expert_auc_true_features": patients["expert_auc_true_features"],
            "all_held_out": _all_held_out(measured.assembly, held_out, truth_n),
        },
        "base_llm": {"name": base.name, "digest": base.digest, **measured.base},
        "majority_rate": float(np.bincount(truth_n).max() / len(truth_n)),
        "reader": patients["reader"],
        "injector": {"gap": patients["injection_gap"], "calibration_error": patients["calibration_error"]},
        "routing": {**patients["routing"], "ordinary": dict(measured.ordinary)},
        "inference": patients["latency"],
        "second_domain": {
            "schema": "titanic",
            "silo": ", ".join(seat.silo for seat in measured.assembly.seats("titanic")),
            **{key: value for key, value in measured.passengers.items() if key not in _NOT_OF_THE_SECOND},
        },
        "answers": patients["answers"],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _silos(
    measured: Measured, held_out: Sequence[tuple[str, LabelledRecord]], truth_n: NDArray[np.int64]
) -> list[dict[str, Any]]:
    rows = []
    for seat in measured.assembly.seats("heart"):
        chances_nC = seat.expert.predict_proba([record.features for _, record in held_out])
        gaussian = next(m for m in seat.guarantee.mechanisms if isinstance(m, SampledGaussian))
        rows.append(
            {
                "id": seat.silo,
                # The demo cut the table itself, so it may count: a real provider learns the noisy counts only.
                "records": len(measured.splits[seat.silo].train),
                "held_out": len(measured.splits[seat.silo].held_out),
                "epsilon": seat.guarantee.epsilon,
                "delta": seat.guarantee.delta,
                "accountant": seat.guarantee.accountant,
                "accountant_version": seat.guarantee.accountant_version,
                "adjacency": seat.guarantee.adjacency,
                "unit": seat.guarantee.unit,
                "noise_multiplier": gaussian.noise_multiplier,
                "alone_accuracy": float((chances_nC.argmax(1) == truth_n).mean()),
                "alone_auc": one_against_rest(chances_nC, truth_n),
                "receipt": measured.releases[seat.silo].receipt_id,
                "artefact": measured.releases[seat.silo].artefact_digest,
            }
        )
    return rows


def _all_held_out(
    assembly: AssembledLlamdex, held_out: Sequence[tuple[str, LabelledRecord]], truth_n: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Experts together on every held-out patient's true features, the asking hospital known or not."""
    known_nC = np.array(
        [assembly.consult("heart", [record.features], asker=silo)[0].numpy() for silo, record in held_out]
    )
    unknown_nC = assembly.consult("heart", [record.features for _, record in held_out]).numpy()
    return {
        name: {"accuracy": float((chances.argmax(1) == truth_n).mean()), "auc": one_against_rest(chances, truth_n)}
        for name, chances in (("asker_known", known_nC), ("asker_unknown", unknown_nC))
    }
