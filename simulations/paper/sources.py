"""Of which source files a cell's figures come: once one of them says something else, the cell is no figure any more.

Files are found by following imports from the modules that make a method and that deal the records, through what
packages re-export to the module that has the name; never into what cannot change the method's figures. Comments,
docstrings and layout of a module do not count: what it does is compared, not how it is told.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["sources_of"]

_ROOT = Path(__file__).parents[2]
_FIRST_PARTY = frozenset({"llamdex_fl", "silo_client", "simulations"})
_ALTERNATIVES = "simulations/alternatives"
_DATA_SETS = ("bank", "heart", "nursery", "pima", "titanic", "wine")
#: What changes no figure of any cell: texts for people, files, experts for texts.
_NEVER = (
    "llamdex_fl/errors.py",
    "llamdex_fl/base_llm/quiet.py",
    "llamdex_fl/experts/text_*",
    "llamdex_fl/privacy/ledger.py",
    "silo_client/packaged_files.py",
    "silo_client/text_training.py",
)
#: What an expert's training needs and nothing else does.
_TRAINING = (f"{_ALTERNATIVES}/experts.py", "silo_client/*", "llamdex_fl/privacy/*", "simulations/seeded_noise.py")
_CONNECTORS = ("llamdex_fl/assembly/*", "llamdex_fl/connectors/texts/*")
_SYNTHESIS, _LORA = f"{_ALTERNATIVES}/synthesis.py", f"{_ALTERNATIVES}/lora.py"


@dataclass(frozen=True, slots=True)
class _Made:
    """By which module a method is made, which files it reads or runs beside, and what of its imports it never uses."""

    module: str
    beside: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


_HELD_OUT_WORDING = "simulations/evaluation/wording/{}.toml"
_TRAINING_WORDING = "llamdex_fl/connectors/questions/wording/{}/*.toml"


def _made(method: str) -> _Made:
    llm = f"{_ALTERNATIVES}/llm.py"
    if "synthe" in method:
        beside, unused = _synthesised(method)
        if method.startswith("synthesis_"):
            return _Made(_SYNTHESIS, beside, unused)
        return _Made(llm, (*beside, _HELD_OUT_WORDING, _TRAINING_WORDING), (*unused, *_CONNECTORS))
    if method == "plain_llm":
        return _Made(llm, (_HELD_OUT_WORDING,), (*_TRAINING, "simulations/tabular.py", *_CONNECTORS, _SYNTHESIS, _LORA))
    if method == "expert_api":
        return _Made(llm, (_HELD_OUT_WORDING,), (*_CONNECTORS, _SYNTHESIS, _LORA))
    if method == "assembled_llm":
        return _Made(llm, (_HELD_OUT_WORDING,), (_SYNTHESIS, _LORA))
    return _Made(f"{_ALTERNATIVES}/{'dp_fedavg' if method == 'dp_fedavg' else 'experts'}.py")


def _synthesised(method: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a synthesis runs beside its module, and what of that module it does not use."""
    if "dp_ctgan" in method:
        return (), (f"{_ALTERNATIVES}/experts.py",)
    return (f"{_ALTERNATIVES}/synthesis_worker.py", "constraints.synthesis.txt"), (
        *_TRAINING,
        f"{_ALTERNATIVES}/dp_gan.py",
    )


@functools.cache
def sources_of(method: str, data_set: str, root: Path = _ROOT) -> Mapping[str, str]:
    """What a cell's figures come from.

    Args:
        method: a name of ``simulations.alternatives``.
        data_set: the same.
        root: where the packages are.

    Returns:
        By path under ``root``, 16 hex digits of the SHA-256 of what the file says.
    """
    made = _made(method)
    others = tuple(f"simulations/datasets/{name}.py" for name in _DATA_SETS if name != data_set)
    unused = (*_NEVER, *made.unused, *others)
    paths, waiting = set[str](), [made.module, f"{_ALTERNATIVES}/cohorts.py"]
    while waiting:
        path = waiting.pop()
        if path in paths or any(fnmatch(path, pattern) for pattern in unused):
            continue
        paths.add(path)
        waiting += _imported(root / path, root)
    for pattern in (*made.beside, "llamdex_fl/schema/library/{}.json"):
        paths.update(found.relative_to(root).as_posix() for found in root.glob(pattern.format(data_set)))
    return {path: _digest(root / path) for path in sorted(paths)}


@functools.cache
def _imported(path: Path, root: Path) -> frozenset[str]:
    found = (_place(module, name, root) for module, name in _imports(path))
    return frozenset(place.relative_to(root).as_posix() for place in found if place is not None)


@functools.cache
def _imports(path: Path) -> tuple[tuple[str, str], ...]:
    """Every ``from module import name`` of the project's own packages."""
    return tuple(_from_imports(ast.parse(path.read_text(encoding="utf-8"))))


def _from_imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in _FIRST_PARTY:
            for alias in node.names:
                yield node.module, alias.name


def _place(module: str, name: str, root: Path) -> Path | None:
    """The file that has a name: a module of that name, or where the package takes it from."""
    own = _file(f"{module}.{name}", root)
    if own is not None:
        return own
    path = _file(module, root)
    if path is not None and path.name == "__init__.py":
        for source, exported in _imports(path):
            if exported == name:
                return _place(source, name, root)
    return path


def _file(module: str, root: Path) -> Path | None:
    folder = root.joinpath(*module.split("."))
    found = (path for path in (folder / "__init__.py", folder.with_suffix(".py")) if path.is_file())
    return next(found, None)


@functools.cache
def _digest(path: Path) -> str:
    said = path.read_bytes()
    if path.suffix == ".py":
        said = ast.unparse(_without_docstrings(ast.parse(said))).encode()
    return hashlib.sha256(said).hexdigest()[:16]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree
