"""The drawn tree of errors is the real one."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from llamdex_fl import errors
from llamdex_fl.errors import LlamdexError

_LINE = re.compile(r"^(?P<branch>[│ ]*(?:[├└]── )?)(?P<name>\w+)(?: \((?P<also>\w+)\))?\s{2,}(?P<says>.+)$")


def _drawn() -> list[tuple[str, str | None, str | None, str]]:
    """(name, parent, other base, what is said) of each line of the drawing, in its order."""
    document = inspect.getdoc(errors)
    assert document is not None
    lines = [line[4:] for line in document.split("::\n", 1)[1].splitlines() if line.startswith("    ")]
    path: list[str] = []
    drawn = []
    for line in lines:
        match = _LINE.match(line)
        assert match is not None, line
        depth = len(match["branch"]) // 4
        path = [*path[:depth], match["name"]]
        assert len(path) == depth + 1, line
        drawn.append((match["name"], path[-2] if depth else None, match["also"], match["says"]))
    return drawn


def _defined() -> dict[str, type[LlamdexError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, LlamdexError)
    }


def test_the_drawing_is_the_tree() -> None:
    drawn = {name: parent for name, parent, _, _ in _drawn()}
    real = {name: None if error is LlamdexError else error.__mro__[1].__name__ for name, error in _defined().items()}
    assert drawn == real
    assert len(drawn) == len(_drawn()), "an error is drawn twice"


def test_the_drawing_is_in_the_order_of_the_definitions() -> None:
    defined = [node.name for node in ast.parse(inspect.getsource(errors)).body if isinstance(node, ast.ClassDef)]
    assert [name for name, *_ in _drawn()] == defined


def test_the_drawing_tells_exit_codes_and_other_bases() -> None:
    defined = _defined()
    for name, parent, also, says in _drawn():
        error = defined[name]
        stated = re.search(r"exit code (\d)", says)
        expected = int(stated[1]) if stated else defined[str(parent)].exit_code
        assert error.exit_code == expected, name
        assert (ValueError in error.__bases__) == (also == "ValueError"), name


def test_every_error_is_public() -> None:
    assert sorted(_defined()) == errors.__all__


def test_an_error_keeps_its_parts() -> None:
    for error in _defined().values():
        made = error("It broke.", expected="a", got="b", next_step="c")
        assert str(made) == "It broke. Expected: a. Got: b. Next step: c"
        assert made.as_dict() == {
            "error": error.__name__,
            "problem": "It broke.",
            "expected": "a",
            "got": "b",
            "next_step": "c",
        }
        with pytest.raises(LlamdexError):
            raise made


def test_no_module_raises_a_bare_exception() -> None:
    """Errors for callers come from the tree; AssertionError tells a bug of ours."""
    root = Path(str(errors.__file__)).parent
    bare = {"Exception", "BaseException", "RuntimeError"}
    for path in root.rglob("*.py"):
        if "wire/v1" in path.as_posix():
            continue  # generated
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                assert node.exc.func.id not in bare, f"{path}:{node.lineno}"
