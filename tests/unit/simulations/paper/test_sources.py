"""What makes a kept cell stale: code that its figures come from, and nothing else."""

from pathlib import Path

import pytest

from simulations.alternatives import METHODS
from simulations.paper.sources import sources_of

_MODULE = '''"""It tells of itself."""
from llamdex_fl.experts import code


def learn() -> int:
    """And of this."""
    return code(1)
'''


def _tree(
    root: Path, module: str = _MODULE, code: str = "def code(value):\n    return value\n", title: str = "a"
) -> Path:
    files = {
        "simulations/alternatives/experts.py": module,
        "simulations/alternatives/cohorts.py": "from simulations.datasets import wine, titanic\n",
        "simulations/datasets/wine.py": "from llamdex_fl.errors import Wrong\n",
        "simulations/datasets/titanic.py": "",
        "llamdex_fl/experts/__init__.py": "from .other import x\nfrom llamdex_fl.experts.coding import code\n",
        "llamdex_fl/experts/coding.py": code,
        "llamdex_fl/experts/other.py": "x = 1\n",
        "llamdex_fl/errors.py": "class Wrong(Exception): ...\n",
        "llamdex_fl/schema/library/wine.json": f'{{"title": "{title}"}}',
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_imports_are_followed_to_the_module_that_has_the_name(tmp_path: Path):
    assert set(sources_of("assembled", "wine", _tree(tmp_path))) == {
        "simulations/alternatives/experts.py",
        "simulations/alternatives/cohorts.py",
        "simulations/datasets/wine.py",
        "llamdex_fl/experts/coding.py",
        "llamdex_fl/schema/library/wine.json",
    }


def test_what_is_told_does_not_count_and_what_is_done_does(tmp_path: Path):
    said = _MODULE.replace("And of this.", "Differently.").replace("return", "return")
    kept, retold, changed, other = (
        sources_of("assembled", "wine", root)
        for root in (
            _tree(tmp_path / "kept"),
            _tree(tmp_path / "retold", said),
            _tree(tmp_path / "changed", code="def code(value):\n    return 2 * value\n"),
            _tree(tmp_path / "other", title="b"),
        )
    )
    assert kept == retold
    assert {path for path in kept if kept[path] != changed[path]} == {"llamdex_fl/experts/coding.py"}
    assert {path for path in kept if kept[path] != other[path]} == {"llamdex_fl/schema/library/wine.json"}


@pytest.mark.parametrize(
    ("method", "has", "has_not"),
    [
        ("assembled", "silo_client/training.py", "simulations/alternatives/synthesis.py"),
        ("synthesis_mst", "simulations/alternatives/synthesis_worker.py", "silo_client/training.py"),
        ("synthesis_dp_ctgan", "simulations/alternatives/dp_gan.py", "simulations/alternatives/synthesis_worker.py"),
        ("plain_llm", "simulations/evaluation/wording/wine.toml", "simulations/alternatives/lora.py"),
        ("expert_api", "silo_client/training.py", "simulations/alternatives/lora.py"),
        ("llm_on_synthetic_aim", "simulations/alternatives/lora.py", "silo_client/training.py"),
        ("assembled_llm", "llamdex_fl/assembly/assembled.py", "simulations/alternatives/lora.py"),
    ],
)
def test_a_method_depends_on_what_it_uses(method: str, has: str, has_not: str):
    found = sources_of(method, "wine")
    assert has in found
    assert has_not not in found
    assert not {"llamdex_fl/errors.py", "simulations/datasets/titanic.py"} & set(found)
    assert "simulations/datasets/wine.py" in found


def test_every_method_is_known_by_its_sources():
    assert all(len(sources_of(method, "bank")) > 10 for method in METHODS)
