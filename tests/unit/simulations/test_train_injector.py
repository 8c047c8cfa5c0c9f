"""``llamdex-sim train-injector`` with a tiny LLM."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llamdex_fl import console
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors import injector as connectors
from llamdex_fl.connectors.injector import Injector, InjectorRecipe
from llamdex_fl.connectors.injector.trained import trained_injector_name
from simulations.cli.main import app


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["train-injector", *arguments])
    return int(ended.value.code or 0)


def test_an_injector_is_written_where_the_package_looks_for_it(
    make_tiny_llm: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(InjectorRecipe, questions=2, own=0.0, steps=2, outcome_batch=2, sentence_batch=2)
    monkeypatch.setattr(connectors, "InjectorRecipe", small)
    base = load_base_llm(str(make_tiny_llm("llama")))
    assert _run("--out", str(tmp_path), "--base", base.name, "--without", "wine") == 0
    folder = tmp_path / trained_injector_name(base.digest)
    assert {own.dtype for own in load_file(folder / "injector.safetensors").values()} == {torch.float16}
    injector = Injector.load(folder, base_digest=base.digest)
    assert {own.dtype for own in injector.parameters()} == {torch.float32}


def test_a_schema_that_is_not_practised_on_cannot_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("--out", str(tmp_path), "--without", "hart") == 2
    assert "hart" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
