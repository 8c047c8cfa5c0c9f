"""Which injector a provider takes, and what makes connectors in the cache stale."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import Injector, InjectorRecipe, trained
from llamdex_fl.connectors.questions import training_wording
from llamdex_fl.connectors.texts import training_text_wording
from llamdex_fl.schema import load_library_schema
from provider_server import fitting
from provider_server.fitting import fit_injector

#: Without the own schemas' outcomes: a tiny LLM's tokenizer cannot tell the wines' numbers apart.
INJECTOR = InjectorRecipe(questions=2, own=0.0, steps=2, outcome_batch=2, sentence_batch=2)
TITANIC, SENTIMENT = load_library_schema("titanic"), load_library_schema("sentiment")


@pytest.fixture(scope="module")
def base(make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm("llama")))


def test_the_code_of_the_injector_makes_no_reader_stale_and_a_wording_no_injector(
    tmp_path: Path, base: BaseLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code = tmp_path / "connectors"
    shutil.copytree(Path(fitting.__file__).parents[1] / "llamdex_fl" / "connectors", code)
    monkeypatch.setattr(fitting, "files", lambda _: code)
    tables, texts = [training_wording(TITANIC)], [training_text_wording(SENTIMENT)]

    def readers() -> tuple[str, str]:
        return fitting._key(tables, "a"), fitting._key(tables, "a", texts=texts)

    def fit() -> bool:
        return fit_injector(base, recipe=INJECTOR)[1]

    before = readers()
    assert [fit(), fit()] == [True, False]
    changed = sorted(path for path in code.rglob("*.toml") if "titanic" in str(path))
    assert changed
    for path in changed:
        path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    (code / "reader" / "training.py").write_text("# changed", encoding="utf-8")
    assert fit() is False
    between = readers()
    assert between[0] != before[0]
    (code / "injector" / "training.py").write_text("# changed", encoding="utf-8")
    assert fit() is True
    assert readers() == between


def test_an_injector_that_comes_with_the_package_is_taken_before_one_is_trained(
    tmp_path: Path, base: BaseLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitting, "InjectorRecipe", lambda: INJECTOR)
    monkeypatch.setattr(trained, "files", lambda _: tmp_path)
    other = replace(INJECTOR, seed=1)
    folder = tmp_path / trained.trained_injector_name(base.digest)
    folder.mkdir()
    assert trained.trained_injector(base.digest) is None, "an empty folder holds none"
    cached, made = fit_injector(base)
    assert made
    Injector.load(cached, base_digest=base.digest).half().save(folder)
    assert trained.trained_injector("0" * 64) is None
    for recipe in (None, INJECTOR):
        assert fit_injector(base, recipe=recipe) == (folder, False)
    whole, half = (Injector.load(own, base_digest=base.digest).state_dict() for own in (cached, folder))
    for name, tensor in half.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-6)
    assert fit_injector(base, fresh=True) == (cached, True)
    of_ones_own, made = fit_injector(base, recipe=other)
    assert made
    assert of_ones_own not in {folder, cached}


@pytest.mark.parametrize("document", sorted(Path(trained.__file__).parent.glob("*/injector.json")), ids=str)
def test_each_injector_of_the_package_can_be_loaded(document: Path) -> None:
    digest = json.loads(document.read_text(encoding="utf-8"))["base_digest"]
    assert trained.trained_injector(digest) == document.parent
    injector = Injector.load(document.parent, base_digest=digest)
    assert all(bool(tensor.isfinite().all()) for tensor in injector.state_dict().values())
