"""The frozen LLM: loading, its digest, and its prompt in two halves."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from llamdex_fl.base_llm.base import BaseLLM, base_llm_digest, load_base_llm
from llamdex_fl.errors import ArtefactError


@pytest.fixture(scope="module")
def folder(make_tiny_llm: Callable[[str], Path]) -> Path:
    return make_tiny_llm("llama")


@pytest.fixture(scope="module")
def base(folder: Path) -> BaseLLM:
    return load_base_llm(str(folder))


_CUT = "\ue0f0\ue0f1"
_QUESTIONS = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    [_CUT, f"a{_CUT}b", "<|im_end|>", "<|im_start|>assistant\n", "trailing  \n", "\ue0f0", ""]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=_QUESTIONS)
def test_the_halves_of_a_prompt_are_the_prompt(base: BaseLLM, question: str) -> None:
    prompt = base.prompt(question)
    whole = base.tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    before, after = (base.tokenizer.decode(half) for half in (prompt.before_T, prompt.after_T))
    assert before + after == whole
    assert before.endswith(question)
    assert after == "<|im_end|>\n<|im_start|>assistant\n"
    assert base.tokenizer.decode(base.prompt_ids(question)[0]) == whole


@pytest.mark.parametrize("question", ["Is it ripe?", "A red fruit of 51 grams. Ripe?", "trailing blank "])
def test_the_halves_are_the_tokens_of_the_prompt(base: BaseLLM, question: str) -> None:
    prompt = base.prompt(question)
    assert torch.equal(torch.cat([prompt.before_T, prompt.after_T]), base.prompt_ids(question)[0])


def test_a_loaded_llm_is_frozen(base: BaseLLM) -> None:
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.width == 32


def test_the_prompt_is_the_templates_own(base: BaseLLM, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is it ripe?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    assert torch.equal(base.prompt_ids("Is it ripe?"), ids)


def test_a_word_is_the_mean_of_its_embeddings(base: BaseLLM) -> None:
    table = base.model.state_dict()["model.embed_tokens.weight"]
    ids = base.tokenizer.encode("unripe", add_special_tokens=False)
    torch.testing.assert_close(base.word_embedding("unripe"), sum(table[token] for token in ids) / len(ids))


def test_the_digest_is_of_the_weights_and_found_without_loading(base: BaseLLM, folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    expected = hashlib.sha256(len(b"model.safetensors").to_bytes(4, "big") + b"model.safetensors" + weights)
    assert base.digest == expected.hexdigest()
    assert base_llm_digest(str(folder)) == base.digest


def test_the_digest_follows_the_weights_past_what_was_kept(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / "llamdex-digest.json").unlink(missing_ok=True)
    before = base_llm_digest(str(copy))
    note = json.loads((copy / "llamdex-digest.json").read_text(encoding="utf-8"))
    assert note["digest"] == before
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    os.utime(copy / "model.safetensors", ns=(1, 1))
    assert base_llm_digest(str(copy)) != before
    (copy / "llamdex-digest.json").write_text("no JSON", encoding="utf-8")
    assert base_llm_digest(str(copy)) != before


def test_an_id_in_the_local_cache_is_a_model(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    (cache / "models--toy--llm" / "refs").mkdir(parents=True)
    (cache / "models--toy--llm" / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    shutil.copytree(folder, cache / "models--toy--llm" / "snapshots" / ("a" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    assert load_base_llm("toy/llm").digest == base_llm_digest("toy/llm") == base_llm_digest(str(folder))


@pytest.mark.parametrize("source", ["toy/none", "/nowhere/at/all", "", "a b//c", "."])
def test_a_model_that_is_not_here_is_refused(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtefactError):
        load_base_llm(source)
    with pytest.raises(ArtefactError):
        base_llm_digest(source)


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_model_is_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / damage).write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ArtefactError):
        load_base_llm(str(copy))


def test_a_model_without_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ArtefactError, match="chat template"):
        load_base_llm(str(tmp_path))
