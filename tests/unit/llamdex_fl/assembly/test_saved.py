"""Assemblies as folders: the same answers afterwards, and everything that is wrong with a folder is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

from llamdex_fl.assembly import AssembledLlamdex, LlamdexForCausalLM, Seat
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.errors import ArtefactError, ConfigError
from llamdex_fl.schema import Schema

QUESTIONS = ["A red fruit of 51 grams. Is it ripe?", "green, 300 g. Ripe?"]


@pytest.fixture(scope="module")
def assembly(
    make_tiny_llm: Callable[[str], Path], tiny_encoder: Path, toy_schema: Schema, make_seat: Callable[..., Seat]
) -> AssembledLlamdex:
    """Every question is routed to two silos' experts."""
    base = load_base_llm(str(make_tiny_llm("llama")))
    torch.manual_seed(0)
    made = AssembledLlamdex(
        base, Reader.untrained(tiny_encoder, [toy_schema], layers=1), Injector(base.width, 0.2, base.digest)
    )
    made.reader.network.vocabulary("fruit").route_bias.data.fill_(100.0)
    made.seat("fruit", make_seat(toy_schema, "orchard", 1))
    made.seat("fruit", make_seat(toy_schema, "market", 2))
    return made


@pytest.fixture
def folder(assembly: AssembledLlamdex, tmp_path: Path) -> Path:
    assembly.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("include_base", [False, True])
def test_what_is_loaded_answers_the_same(assembly: AssembledLlamdex, tmp_path: Path, *, include_base: bool) -> None:
    assembly.save_pretrained(tmp_path / "saved", include_base=include_base)
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "saved", moved)
    shutil.rmtree(tmp_path / "saved")
    loaded = AssembledLlamdex.from_pretrained(moved)
    assert loaded.answer_all(QUESTIONS, max_new_tokens=6) == assembly.answer_all(QUESTIONS, max_new_tokens=6)
    assert loaded.base.digest == assembly.base.digest
    for one, other in zip(loaded.seats("fruit"), assembly.seats("fruit"), strict=True):
        assert (one.silo, one.guarantee) == (other.silo, other.guarantee)
        assert all((array == other.expert.as_tensors()[name]).all() for name, array in one.expert.as_tensors().items())
    assert (moved / "base").is_dir() == include_base


def test_transformers_loads_the_folder(assembly: AssembledLlamdex, folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert [seat["silo"] for seat in config.seats] == ["orchard", "market"]
    assert config.seats[0]["guarantee"]["adjacency"] == "add_or_remove_one"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map="cpu")
    assert isinstance(model, LlamdexForCausalLM)
    assert model.dtype == torch.bfloat16
    pipe = pipeline("text-generation", model=str(folder))
    said = pipe([{"role": "user", "content": QUESTIONS[0]}], max_new_tokens=6, do_sample=False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTIONS[0]}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = assembly.generate(inputs["input_ids"], max_new_tokens=6, do_sample=False)
    text = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said[0]["generated_text"][-1]["content"] == text


def test_saving_replaces_an_older_assembly_and_nothing_else(
    assembly: AssembledLlamdex, folder: Path, tmp_path: Path
) -> None:
    (folder / "left-over").write_text("old")
    assembly.causal_lm.save_pretrained(folder)
    assert not (folder / "left-over").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="nothing was removed"):
        assembly.save_pretrained(other)
    assert (other / "thesis.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "saved"]


def test_nothing_half_written_stays(
    assembly: AssembledLlamdex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Injector, "save", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        assembly.save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def _edited(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DEFECTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "whole saved assembly"),
    "config of another model": (lambda folder: _edited(folder, model_type="llama"), "another one"),
    "config is a list": (lambda folder: (folder / "config.json").write_text("[]"), "another one"),
    "another version": (lambda folder: _edited(folder, format=99), "another version"),
    "no seats": (lambda folder: _edited(folder, seats=None), "fields"),
    "schemas of another": (lambda folder: _edited(folder, schemas={"fruit": "0" * 64}), "schemas"),
    "missing reader": (lambda folder: (folder / "reader/reader.safetensors").unlink(), "no such file"),
    "flipped expert": (lambda folder: _flip(folder / "experts/000.safetensors"), "another digest"),
    "flipped injector": (lambda folder: _flip(folder / "injector/injector.safetensors"), "another digest"),
    "file outside": (lambda folder: _edited(folder, files={"../x": "0"}), "inside"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_told(folder: Path, defect: str) -> None:
    spoil, told = DEFECTS[defect]
    spoil(folder)
    with pytest.raises(ArtefactError, match=told):
        AssembledLlamdex.from_pretrained(folder)


def test_another_base_llm_is_refused(
    assembly: AssembledLlamdex, folder: Path, make_tiny_llm: Callable[[str], Path], tmp_path: Path
) -> None:
    other = str(make_tiny_llm("qwen2"))
    with pytest.raises(ArtefactError, match="another base LLM"):
        AssembledLlamdex.from_pretrained(folder, base=other)
    with pytest.raises(ArtefactError, match="another base LLM"):
        AssembledLlamdex.from_pretrained(folder, base=load_base_llm(other))
    assert AssembledLlamdex.from_pretrained(folder, base=assembly.base).base is assembly.base
    own = tmp_path / "own"
    assembly.save_pretrained(own, include_base=True)
    _flip(own / "base/model.safetensors")
    with pytest.raises(ArtefactError, match="weights of digest"):
        AssembledLlamdex.from_pretrained(own)
