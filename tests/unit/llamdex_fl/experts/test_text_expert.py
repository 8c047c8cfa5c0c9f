"""Text experts: the fine-tuned layer is the model's own where nothing was trained, and an expert is what it says."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from llamdex_fl.base_llm.packaged import packaged_encoder, packaged_llm
from llamdex_fl.errors import InputError, RecordError, WeightsError
from llamdex_fl.experts import MINILM_LORA, SMOLLM2_LORA, TEXT_ARCHITECTURES, Expert, TextExpert, tensor_shapes
from llamdex_fl.experts.text_base import load_text_base, padded
from llamdex_fl.schema import load_library_schema

SENTIMENT = load_library_schema("sentiment")
TEXTS = ["A warm, funny story about three sisters.", "Two hours that feel like four.", "no"]
RECORDS = [{"text": text} for text in TEXTS]


def tensors(architecture: str = MINILM_LORA, seed: int = 0, scale: float = 0.3) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    made = {
        name: (scale * random.normal(size=shape)).astype(np.float32)
        for name, shape in tensor_shapes(architecture, SENTIMENT).items()
    }
    return made | {"class_counts": np.array([30.0, 70.0], np.float32)}


def expert(**changed: NDArray[np.float32]) -> Expert:
    return Expert.from_tensors(SENTIMENT, tensors() | changed, MINILM_LORA)


def test_the_encoders_layer_is_the_models_own() -> None:
    base = load_text_base(MINILM_LORA)
    model = AutoModel.from_pretrained(packaged_encoder()).eval()
    layer, state = model.encoder.layer[base.architecture.layer], torch.randn(1, 1, 384)
    one = torch.ones(1, 1)
    with torch.no_grad():
        expected = layer(state)
        # Of a single token the mean is the token, so the query is what the model itself would ask with.
        got = base.top().pooled(*base.top().read(state, one), one)
    torch.testing.assert_close(got, (expected[0] if isinstance(expected, tuple) else expected).reshape(1, 384))


@pytest.mark.slow
def test_the_causal_layer_is_the_models_own() -> None:
    base = load_text_base(SMOLLM2_LORA)
    folder = packaged_llm()
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    read = base.read(TEXTS)
    with torch.no_grad():
        got = base.top().pooled(*padded(read))
        for row, text in enumerate(TEXTS):
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            expected = states[base.architecture.layer + 1][0, -1]
            expected = torch.nn.functional.rms_norm(expected, expected.shape)
            torch.testing.assert_close(got[row], expected, atol=1e-3, rtol=1e-3)


def test_neighbours_in_a_batch_change_nothing() -> None:
    together = expert().log_odds(RECORDS)
    alone = np.concatenate([expert().log_odds([record]) for record in RECORDS])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(together.sum(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(expert().predict_proba(RECORDS).sum(axis=1), 1.0, atol=1e-9)


def test_low_rank_parameters_change_the_answer_and_without_b_they_are_nothing() -> None:
    names = [name for name in tensor_shapes(MINILM_LORA, SENTIMENT) if name.endswith(".b")]
    without = expert(**{name: np.zeros_like(tensors()[name]) for name in names})
    assert not np.allclose(expert().log_odds(RECORDS), without.log_odds(RECORDS), atol=1e-2)
    shape = TEXT_ARCHITECTURES[MINILM_LORA]
    base = load_text_base(MINILM_LORA)
    features = base.top()(*padded(base.read(TEXTS))).numpy()
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-5)
    logits = features @ tensors()["head.weight"].T + tensors()["head.bias"]
    np.testing.assert_allclose(without.log_odds(RECORDS), logits - logits.mean(axis=1, keepdims=True), atol=1e-4)
    assert set(names) == {f"lora.{shape.layer}.{target}.b" for target in shape.targets}


def test_an_absent_text_says_the_prior() -> None:
    chances = expert().predict_proba([{}, {"text": None}, {"text": "Fine."}])
    np.testing.assert_allclose(chances[:2], [[0.3, 0.7]] * 2)
    assert not np.allclose(chances[2], [0.3, 0.7])
    assert expert().predict_proba([]).shape == (0, 2)


def test_the_frozen_layers_run_once_for_all_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    base, asked = load_text_base(MINILM_LORA), []
    whole = base.read
    monkeypatch.setattr(base, "read", lambda texts: asked.extend(texts) or whole(texts))
    text = "Nobody has asked about this sentence before."
    for seed in range(3):
        Expert.from_tensors(SENTIMENT, tensors(seed=seed), MINILM_LORA).log_odds([{"text": text}, {"text": text}])
    assert asked == [text]


def test_an_expert_of_texts_is_made_by_the_common_entry() -> None:
    made = expert()
    assert isinstance(made, TextExpert)
    np.testing.assert_allclose(made.prior, [0.3, 0.7])
    np.testing.assert_allclose(made.class_counts_C, [30.0, 70.0])


@pytest.mark.parametrize("record", [{"text": 3}, {"text": "x" * 2001}, {"text": "   "}, {"other": "secret"}])
def test_another_record_is_refused_without_a_word_of_it(record: dict[str, str | int]) -> None:
    with pytest.raises(RecordError) as caught:
        expert().log_odds([{"text": "ok"}, record])
    assert "Record 2" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("name", ["lora.4.up.a", "head.weight", "class_counts"])
def test_hostile_tensors_are_refused(name: str) -> None:
    for value in (np.nan, 1e12):
        with pytest.raises(WeightsError):
            expert(**{name: np.full_like(tensors()[name], value)})
    # The largest that are let through still give numbers.
    largest = {n: np.full_like(t, 100.0) for n, t in tensors().items() if n.startswith("lora.")}
    assert np.isfinite(expert(**largest).predict_proba(RECORDS)).all()


def test_an_architecture_for_tables_and_one_for_texts_are_not_mixed_up() -> None:
    with pytest.raises(InputError):
        tensor_shapes(MINILM_LORA, load_library_schema("heart"))
    with pytest.raises(InputError):
        Expert.from_tensors(SENTIMENT, tensors(), "thermometer_linear/v1")
