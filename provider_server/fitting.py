"""Trains a provider's connectors from schemas.

Connectors depend on the schemas, their wordings, the recipes, the encoder and the base LLM, all public: what was
trained once for the same of these is taken from the user's cache.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from platformdirs import user_cache_path

from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.base_llm.packaged import packaged_encoder
from llamdex_fl.connectors.injector import Frame, Injector, InjectorRecipe, train_injector
from llamdex_fl.connectors.injector.trained import trained_injector
from llamdex_fl.connectors.questions import Wording, load_wording, ordinary_questions, training_wording
from llamdex_fl.connectors.reader import ExtensionRecipe, Reader, ReaderRecipe, extend_reader, train_reader
from llamdex_fl.connectors.texts import (
    TextReaderRecipe,
    TextWording,
    load_text_wording,
    train_text_reader,
    training_text_wording,
)
from llamdex_fl.errors import ConfigError
from llamdex_fl.schema import Schema, load_library_schema, load_schema
from provider_server.config import ProviderConfig
from provider_server.known_readers import MadeOf, ReaderMadeOf, largest_part

__all__ = [
    "PRACTICE_SCHEMAS",
    "fit_connectors",
    "fit_injector",
    "fit_reader",
    "provider_schemas",
]

#: Whose questions the injector practises on, whatever the provider serves: tables with wordings by several authors.
PRACTICE_SCHEMAS = ("heart", "titanic", "bank", "nursery", "wine")
#: Told (what is trained, steps done, steps in all).
Progress = Callable[[str, int, int], None]


def provider_schemas(config: ProviderConfig) -> list[Schema]:
    """The schemas that a provider serves, by name.

    Raises:
        ConfigError: there is none, or there are two of one name.
    """
    schemas = [load_schema(path) for path in config.schemas.glob("*.json")]
    if not schemas:
        raise ConfigError(
            f"The provider in {config.home} serves no schema.",
            expected=f"schema files in {config.schemas}",
            got="none",
            next_step="add one: llamdex-provider add-schema",
        )
    names = [schema.name for schema in schemas]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"The provider in {config.home} has several schemas of one name.",
            expected="one schema a name: connectors are trained by name",
            got=", ".join(twice),
            next_step=f"move the older file out of {config.schemas}",
        )
    return sorted(schemas, key=lambda schema: schema.name)


def fit_connectors(  # noqa: PLR0913 - the last four are for tests and displays
    config: ProviderConfig,
    base: BaseLLM,
    *,
    reader_recipe: ReaderRecipe | TextReaderRecipe | None = None,
    extension_recipe: ExtensionRecipe | None = None,
    injector_recipe: InjectorRecipe | None = None,
    fresh: bool = False,
    on_progress: Progress | None = None,
) -> bool:
    """Train the reader and the injector of a provider, or take them from the cache.

    Args:
        config: the provider.
        base: the frozen LLM.
        reader_recipe: how the reader is trained; with schemas of texts a recipe for tables stands for its part.
        extension_recipe: how schemas join a reader that the cache has.
        injector_recipe: how the injector is trained.
        fresh: train all anew, even if the cache has them.
        on_progress: told about each step.

    Returns:
        Whether something was trained.

    Raises:
        ConfigError: there is no schema, or two of one name.
        SchemaError: this LLM cannot tell a schema's outcomes apart by the first token of their sentences.
    """
    frame = Frame(base)
    for schema in provider_schemas(config):
        # Refused now, not when the first expert takes its seat, after a silo has spent its budget.
        frame.target_offers(schema.target)
    reader, reader_trained = fit_reader(
        config, recipe=reader_recipe, extension=extension_recipe, fresh=fresh, on_progress=on_progress
    )
    injector, injector_trained = fit_injector(base, recipe=injector_recipe, fresh=fresh, on_progress=on_progress)
    _replace(config.connectors, reader, injector)
    return reader_trained or injector_trained


def fit_reader(
    config: ProviderConfig,
    *,
    recipe: ReaderRecipe | TextReaderRecipe | None = None,
    extension: ExtensionRecipe | None = None,
    fresh: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Path, bool]:
    """Train the provider's reader into the cache, if it is not there; it needs no LLM.

    Where the cache has a reader of some of the provider's schemas, in the same wordings, the others join it by a short
    fit. A reader that reads texts is trained as a whole.

    Args:
        config: the provider.
        recipe: how the reader is trained.
        extension: how schemas join a reader that was trained.
        fresh: train all anew.
        on_progress: told about each step.

    Returns:
        The reader's folder in the cache, and whether something was trained.
    """
    wordings, text_wordings = _wordings(config), _text_wordings(config)
    with (packaged_encoder() / "model.safetensors").open("rb") as stream:
        encoder = hashlib.file_digest(stream, "sha256").hexdigest()
    told = _told(on_progress, "reader")
    if text_wordings:
        both = recipe if isinstance(recipe, TextReaderRecipe) else TextReaderRecipe(tabular=recipe or ReaderRecipe())

        def train() -> Reader:
            return train_text_reader(
                packaged_encoder(), wordings, text_wordings, ordinary_questions(), recipe=both, on_step=told
            )

        return _cached("reader", _key(wordings, encoder, repr(both), texts=text_wordings), train, fresh=fresh)
    plain = recipe.tabular if isinstance(recipe, TextReaderRecipe) else recipe or ReaderRecipe()
    made_of = MadeOf(_key([], encoder, repr(plain)), {own.schema.name: _wording_key(own) for own in wordings})

    def train_plain() -> ReaderMadeOf:
        found = None if fresh else largest_part(_cache(), made_of)
        if found is None:
            reader = train_reader(packaged_encoder(), wordings, ordinary_questions(), recipe=plain, on_step=told)
        else:
            known, before = found
            reader = extend_reader(
                before,
                packaged_encoder(),
                [own for own in wordings if own.schema.name in known.wordings],
                [own for own in wordings if own.schema.name not in known.wordings],
                ordinary_questions(),
                recipe=extension,
                on_step=told,
            ).reader
        return ReaderMadeOf(reader, made_of)

    return _cached("reader", _key(wordings, encoder, repr(plain)), train_plain, fresh=fresh)


def fit_injector(
    base: BaseLLM,
    *,
    recipe: InjectorRecipe | None = None,
    fresh: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Path, bool]:
    """Take the injector that comes with the package for a base LLM, or train one into the cache.

    It knows no schema: it practises on the project's own wordings and on made-up outcomes, and serves every schema of a
    provider as it is. One that is added later trains no injector.

    Args:
        base: the frozen LLM.
        recipe: how the injector is trained; the one that comes with the package was trained by the default.
        fresh: train it anew.
        on_progress: told about each step.

    Returns:
        The injector's folder, and whether it was trained.
    """
    if recipe in {None, InjectorRecipe()} and not fresh and (packaged := trained_injector(base.digest)) is not None:
        return packaged, False
    recipe = recipe or InjectorRecipe()

    def train() -> Injector:
        wordings = [training_wording(load_library_schema(name)) for name in PRACTICE_SCHEMAS]
        return train_injector(base, wordings, recipe=recipe, on_step=_told(on_progress, "injector"))

    # Which questions it practised on makes no injector stale: only how it is made, and for which LLM.
    key = hashlib.sha256("\0".join((base.digest, repr(recipe), _code_digest("injector"))).encode()).hexdigest()
    return _cached("injector", key, train, fresh=fresh)


class _Saved(Protocol):
    def save(self, folder: Path) -> None: ...


def _cache() -> Path:
    return user_cache_path("llamdex-fl") / "connectors"


def _cached(name: str, key: str, train: Callable[[], _Saved], *, fresh: bool) -> tuple[Path, bool]:
    folder = _cache() / f"{name}-{key}"
    trained = fresh or not folder.is_dir()
    if trained:
        made = train()
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="making-"))
        try:
            made.save(scratch)
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder, trained


def _told(on_progress: Progress | None, what: str) -> Callable[[int, int, float], None]:
    return lambda done, total, _: on_progress(what, done, total) if on_progress else None


def _replace(folder: Path, *sources: Path) -> None:
    """Copy beside, then swap: a folder of connectors is whole or the old one."""
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="connectors-"))
    for source in sources:
        shutil.copytree(source, scratch, dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def _wording(config: ProviderConfig, schema: Schema) -> Wording:
    """The provider's own wording of a schema, or the one that comes with the project."""
    own = config.wordings / schema.name
    return load_wording(schema, own) if own.is_dir() else training_wording(schema)


def _wordings(config: ProviderConfig) -> list[Wording]:
    return [_wording(config, schema) for schema in provider_schemas(config) if not schema.is_text]


def _text_wordings(config: ProviderConfig) -> list[TextWording]:
    wordings = []
    for schema in (schema for schema in provider_schemas(config) if schema.is_text):
        own = config.wordings / schema.name
        wordings.append(load_text_wording(schema, own) if own.is_dir() else training_text_wording(schema))
    return wordings


def _key(wordings: Sequence[Wording], *others: str, texts: Sequence[TextWording] = ()) -> str:
    """Names everything that a reader is made of, the code that makes it included.

    What reads texts counts only where texts are read.
    """
    digest = hashlib.sha256()
    for text in (*others, *map(_wording_key, wordings), *(repr((own.schema.digest(), own)) for own in texts)):
        digest.update(text.encode() + b"\0")
    digest.update(_code_digest("", without=("injector",) if texts else ("injector", "texts")).encode())
    return digest.hexdigest()


def _code_digest(part: str, *, without: Sequence[str] = ()) -> str:
    """Digest of the connectors' code and wordings, or of one part's, without some folders."""
    digest = hashlib.sha256()
    code = Path(str(files("llamdex_fl.connectors") / part))
    for path in sorted(path for path in code.rglob("*") if path.suffix in {".py", ".toml", ".txt"}):
        name = path.relative_to(code)
        if name.parts[0] not in without:
            digest.update(name.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _wording_key(wording: Wording) -> str:
    """Everything in a wording, in one order: what is a set in it is sorted, for sets differ from process to process."""
    phrases = [
        (p.form, p.text, sorted(p.states.items()), sorted(p.numbers), sorted(p.absent), p.counted)
        for p in wording.phrases
    ]
    rest = (wording.subjects, wording.labels, wording.words, wording.counted_nouns, wording.ask, wording.chatter)
    return hashlib.sha256(repr((wording.schema.digest(), phrases, rest)).encode()).hexdigest()
