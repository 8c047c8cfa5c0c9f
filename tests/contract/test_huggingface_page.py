"""Every Python block of docs/huggingface.md runs, in the page's order."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.schema import Schema

PAGE = Path(__file__).parents[2] / "docs" / "huggingface.md"


def test_the_page_runs(  # noqa: PLR0913, PLR0917 - fixtures
    make_tiny_llm: Callable[[str], Path],
    tiny_encoder: Path,
    toy_schema: Schema,
    make_seat: Callable[..., Seat],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = load_base_llm(str(make_tiny_llm("llama")))
    torch.manual_seed(0)
    assembly = AssembledLlamdex(
        base, Reader.untrained(tiny_encoder, [toy_schema], layers=1), Injector(base.width, 0.2, base.digest)
    )
    assembly.seat("fruit", make_seat(toy_schema, "orchard", 1))
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"assembly": assembly}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    assert names["assembly"].seats("fruit")[0].silo == "orchard"
    assert capsys.readouterr().out
