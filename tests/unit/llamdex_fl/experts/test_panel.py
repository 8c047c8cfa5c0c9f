"""Experts that are asked together say what each says alone, contradictions show, and no facts is the prior."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamdex_fl.errors import InputError
from llamdex_fl.experts import (
    THERMOMETER_LARGE,
    THERMOMETER_LINEAR,
    Expert,
    Panel,
    coded_size,
    combine,
    disagreement,
    pooled_prior,
    public_records,
)
from llamdex_fl.experts.coding import block_sizes
from llamdex_fl.experts.expert import log_softmax
from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian
from llamdex_fl.schema import load_library_schema

HEART = load_library_schema("heart")
STEPS = SampledGaussian(sampling_rate=0.5, noise_multiplier=14.0, steps=60, max_grad_norm=1.0)
GUARANTEE = Guarantee(
    epsilon=1.0,
    delta=1e-4,
    mechanisms=(LaplaceCounts(epsilon=0.2), STEPS),
    accountant="pld",
    accountant_version="test",
)
TRUTH_D = np.random.default_rng(0).normal(size=coded_size(HEART))


def expert(
    seed: int, *, sign: float = 1.0, counts: tuple[float, float] = (60.0, 40.0), architecture: str = THERMOMETER_LINEAR
) -> Expert:
    """Knows the truth, with noise."""
    weight_D = 0.1 * (sign * TRUTH_D + 0.7 * np.random.default_rng([seed, 7]).normal(size=len(TRUTH_D)))
    tensors = {
        "weight": np.array([-weight_D, weight_D], np.float32),
        "bias": np.log(np.array(counts) / sum(counts)).astype(np.float32),
        "class_counts": np.array(counts, np.float32),
    }
    return Expert.from_tensors(HEART, tensors, architecture)


def panel(experts: list[Expert]) -> Panel:
    return Panel.of(experts, [GUARANTEE] * len(experts))


RECORDS = [*public_records(HEART)[:20], {}, {"age": 60}]


def test_all_together_say_what_each_says_alone() -> None:
    kinds = [THERMOMETER_LINEAR, THERMOMETER_LARGE, THERMOMETER_LINEAR]
    experts = [expert(seed, counts=(30.0 + seed, 70.0), architecture=kind) for seed, kind in enumerate(kinds)]
    evidence = panel(experts).evidence(RECORDS)
    for said_nC, one in zip(evidence.log_odds_inC, experts, strict=True):
        log_prior_C = np.log(one.prior)
        np.testing.assert_allclose(said_nC, one.log_odds(RECORDS) - (log_prior_C - log_prior_C.mean()), atol=1e-9)
    assert evidence.public_inC is None


def test_four_experts_say_bit_for_bit_what_the_formula_says() -> None:
    experts = [expert(seed, counts=(30.0 + 9 * seed, 70.0)) for seed in range(4)]
    together = panel(experts)
    weights_i = together.sizes_i**2 / (together.sizes_i + 1.5 * together.noises_i**2)
    centred = [np.log(one.prior) - np.log(one.prior).mean() for one in experts]
    said_inC = np.array([one.log_odds(RECORDS) - own_C for one, own_C in zip(experts, centred, strict=True)])
    counts_C = np.sum([one.class_counts_C for one in experts], axis=0)
    log_pooled_C = np.log(counts_C / counts_C.sum())
    evidence_nC = np.tensordot(weights_i, said_inC, 1) * 2.0 / (weights_i.sum() + 40.0)
    logits_nC = evidence_nC + (0.8 * log_pooled_C + (1.0 - 0.8) * log_pooled_C)
    np.testing.assert_array_equal(combine(experts, [GUARANTEE] * 4, RECORDS), np.exp(log_softmax(logits_nC)))


def test_public_records_fit_their_schema_and_are_always_the_same() -> None:
    for schema in map(load_library_schema, ("heart", "titanic", "nursery", "sentiment")):
        records = public_records(schema)
        assert records is public_records(schema)
        assert len(records) >= 40
        for record in records:
            assert set(record) == {feature.name for feature in schema.features}
        if not schema.is_text:
            Panel.of([_silent(schema.name)], [GUARANTEE]).evidence(records)


def _silent(schema: str) -> Expert:
    own = load_library_schema(schema)
    classes, size = len(own.target.labels), coded_size(own)
    tensors = {"weight": (classes, size), "bias": (classes,), "class_counts": (classes,)}
    return Expert.from_tensors(own, {name: np.ones(shape, np.float32) for name, shape in tensors.items()})


def test_who_learned_the_opposite_disagrees_most_and_is_not_heard() -> None:
    experts = [expert(seed, sign=-1.0 if seed < 2 else 1.0) for seed in range(10)]
    far_i = disagreement(experts, [GUARANTEE] * 10)
    assert set(np.argsort(-far_i)[:2]) == {0, 1}
    assert far_i[:2].min() > 1.2
    assert far_i[2:].max() < 1.0
    assert panel(experts).weighed.weights_i[:2].max() == 0.0
    np.testing.assert_allclose(disagreement(experts, [GUARANTEE] * 10, list(public_records(HEART))), far_i)


def test_an_expert_that_says_nothing_agrees_with_nobody() -> None:
    silent = Expert.from_tensors(
        HEART,
        {
            "weight": np.zeros((2, coded_size(HEART)), np.float32),
            "bias": np.log(np.array([0.6, 0.4], np.float32)),
            "class_counts": np.array([60, 40], np.float32),
        },
    )
    assert disagreement([silent, *map(expert, range(5))], [GUARANTEE] * 6)[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("counts", [(1e8, 1.0), (1.0, 1e8)])
def test_inflated_counts_do_not_carry_the_shares_or_the_answer(counts: tuple[float, float]) -> None:
    honest = [expert(seed, counts=(60.0 - seed, 40.0 + seed)) for seed in range(8)]
    liars = [expert(20 + seed, sign=-1.0, counts=counts) for seed in range(2)]
    shares_C = pooled_prior([*honest, *liars])
    assert 0.3 < shares_C[1] < 0.5
    clean_nC = combine(honest, [GUARANTEE] * 8, RECORDS)
    found_nC = combine([*honest, *liars], [GUARANTEE] * 10, RECORDS)
    assert np.abs(found_nC - clean_nC).max() < 0.2


@given(st.sets(st.sampled_from([feature.name for feature in HEART.features])), st.integers(5, 9))
@settings(max_examples=30, deadline=None)
def test_fewer_facts_are_nearer_to_the_prior(known: set[str], experts: int) -> None:
    """Experts to whom absence says nothing: what is known bounds how far the answer is from the prior."""
    sizes = block_sizes(HEART)
    absent = np.cumsum(sizes) - 1
    panelled = []
    for seed in range(experts):
        one = expert(seed)
        weight_CD = np.array(one.weight_CD, np.float32)  # type: ignore[attr-defined] # linear
        weight_CD[:, absent] = 0.0
        tensors = {"weight": weight_CD, "bias": np.log(one.prior), "class_counts": one.class_counts_C}
        panelled.append(Expert.from_tensors(HEART, {name: np.float32(t) for name, t in tensors.items()}))
    record = {name: value for name, value in public_records(HEART)[0].items() if name in known}
    together, prior_C = panel(panelled), np.array([0.3, 0.7])
    found_C = together.combined([record], prior_C)[0]
    nothing_C = together.combined([{}], prior_C)[0]
    distance = abs(np.log(found_C[1] / found_C[0]) - np.log(nothing_C[1] / nothing_C[0]))
    # Codes lie within [-1, 1], and G times W / (W + A) is at most 2.
    blocks = np.split(np.abs(np.array([one.weight_CD for one in panelled])), np.cumsum(sizes)[:-1], axis=2)  # type: ignore[attr-defined]
    said = [block.sum(axis=2) for block, f in zip(blocks, HEART.features, strict=True) if f.name in known]
    most = max(sum(float(block[i].max()) for block in said) for i in range(experts))
    assert distance <= 2.0 * 2.0 * most + 1e-6
    # No fact at all is the asker's prior, as far as the pooled shares let it (T).
    pooled_C = together.weighed.pooled_C
    expected = 0.8 * np.log(0.7 / 0.3) + 0.2 * np.log(pooled_C[1] / pooled_C[0])
    assert np.log(nothing_C[1] / nothing_C[0]) == pytest.approx(expected, abs=1e-5)


def test_experts_of_different_schemas_are_refused() -> None:
    with pytest.raises(InputError, match="combined"):
        Panel.of([expert(0), _silent("titanic")], [GUARANTEE] * 2)
    with pytest.raises(InputError, match="combined"):
        disagreement([], [])
