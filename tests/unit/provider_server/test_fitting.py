"""Connectors for a provider, and the assembly from what silos sent; tiny models, everything else real."""

import io
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamdex_fl import console, weights
from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import Injector, InjectorRecipe
from llamdex_fl.connectors.questions import training_wording
from llamdex_fl.connectors.reader import ExtensionRecipe, Reader, ReaderRecipe, Reading
from llamdex_fl.connectors.texts import TextReader, TextReaderRecipe, load_reader, training_text_wording
from llamdex_fl.envelope import Keyring, SealOrder, Wish, read_trust, seal
from llamdex_fl.errors import ArtefactError, ConfigError, InputError, SchemaError
from llamdex_fl.experts import THERMOMETER_LINEAR, tensor_shapes
from llamdex_fl.release import Offer
from llamdex_fl.schema import Schema, load_library_schema
from provider_server import fitting
from provider_server.cli.main import app
from provider_server.config import ProviderConfig, load_provider_config
from provider_server.desk import Checks, Desk
from provider_server.fitting import fit_connectors, fit_reader, provider_schemas
from provider_server.invitations import invite
from provider_server.keys import load_provider_keys
from provider_server.live_assembly import Change, open_assembly
from provider_server.quarantine import review
from provider_server.registry import Registry
from provider_server.setup import add_schema, enrol, init_provider, revoke
from silo_client.config import load_silo_config
from silo_client.enrolment import join, load_identity, make_keys, request_by_invitation

READER = ReaderRecipe(steps=2, practice=0.0, batch=2, layers=1, frozen_layers=0)
EXTENSION = ExtensionRecipe(questions=12, others=6, rounds=2, checked=2)
INJECTOR = InjectorRecipe(questions=2, steps=2, outcome_batch=2, sentence_batch=2)
TITANIC, SENTIMENT = load_library_schema("titanic"), load_library_schema("sentiment")


@pytest.fixture(scope="module")
def base(make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm("llama")))


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory, base: BaseLLM) -> tuple[Path, str]:
    """A provider's home that serves the titanic schema with a tiny LLM, and its root's fingerprint."""
    home = tmp_path_factory.mktemp("founded") / "provider"
    fingerprint = init_provider(home, provider="prov", trust_domain="ships.example", address="127.0.0.1:0")
    add_schema(home, TITANIC)
    with (home / "provider.toml").open("a", encoding="utf-8") as file:
        file.write(f'\nbase_llm = "{base.name}"\n')
    return home, fingerprint


@pytest.fixture(scope="module")
def config(
    founded: tuple[Path, str], base: BaseLLM, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProviderConfig]:
    """The provider, with connectors and a cache of its own."""
    config = load_provider_config(founded[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(fitting, "packaged_encoder", lambda: tiny_encoder)
        assert fit_connectors(config, base, reader_recipe=READER, injector_recipe=INJECTOR)
        yield config


def test_connectors_are_trained_once_for_the_same_of_everything(config: ProviderConfig, base: BaseLLM) -> None:
    steps: list[tuple[str, int, int]] = []

    def fit(**changes: Any) -> bool:  # noqa: ANN401 - the options of fit_connectors
        recipes: dict[str, Any] = {"reader_recipe": READER, "injector_recipe": INJECTOR, **changes}
        return fit_connectors(config, base, on_progress=lambda *told: steps.append(told), **recipes)

    (config.connectors / "reader.json").write_text("damaged", encoding="utf-8")
    assert fit() is False
    assert steps == []
    assert list(Reader.load(config.connectors).schemas) == ["titanic"]
    first = (config.connectors / "reader.safetensors").read_bytes()
    assert fit(fresh=True) is True
    assert steps == [("reader", 1, 2), ("reader", 2, 2), ("injector", 1, 2), ("injector", 2, 2)]
    assert (config.connectors / "reader.safetensors").read_bytes() == first, "the same seed trains the same reader"
    assert fit(reader_recipe=ReaderRecipe(steps=2, practice=0.0, batch=2, layers=1, frozen_layers=0, seed=1)) is True
    assert (config.connectors / "reader.safetensors").read_bytes() != first
    assert fit() is False
    assert (config.connectors / "reader.safetensors").read_bytes() == first
    assert [path.name for path in config.home.iterdir() if path.name.startswith("connectors")] == ["connectors"]


def test_connectors_for_another_llm_are_refused(config: ProviderConfig, make_tiny_llm: Callable[[str], Path]) -> None:
    with pytest.raises(ArtefactError, match="another base LLM"):
        open_assembly(config, load_base_llm(str(make_tiny_llm("qwen2"))))


def test_a_provider_without_experts_answers_with_its_llm_alone(
    config: ProviderConfig, base: BaseLLM, tmp_path: Path
) -> None:
    shutil.copytree(config.connectors, tmp_path / "connectors")
    assembly = open_assembly(replace(config, home=tmp_path), base)
    assert assembly.schemas == []
    assert assembly.answer("Did she survive?", max_new_tokens=2).schema is None


def _keyring(config: ProviderConfig) -> Keyring:
    return read_trust(config.home, now=datetime.now(UTC))[1]


def _send(founded: tuple[Path, str], silo: str, seat: Seat, base: BaseLLM, directory: Path) -> None:
    """An expert's whole way from a silo to the registry, but for the sockets."""
    provider, fingerprint = founded
    home = directory / silo
    if not home.exists():
        home.mkdir()
        settings = {"silo": silo, "data": "d", "provider": "prov", "provider_address": "127.0.0.1:1"}
        (home / "silo.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in settings.items()))
        join(home, enrol(provider, [make_keys(home)])[0], fingerprint)
    identity = load_identity(load_silo_config(home))
    config = load_provider_config(provider)
    offer = Offer(
        provider="prov",
        purpose="answer-questions",
        schema_digest=TITANIC.digest(),
        architecture=THERMOMETER_LINEAR,
        base_model_digest=base.digest,
        epsilon=2.0,
        delta=1e-4,
        challenge=secrets.token_hex(32),
    )
    expert = seat.expert
    tensors = {"weight": expert.weight_CD, "bias": expert.bias_C, "class_counts": expert.class_counts_C}
    data = weights.encode({name: np.asarray(array, np.float32) for name, array in tensors.items()})
    with Registry(config.registry) as registry:
        registry.open_round(offer)
        counter = 1 + sum(record.silo == silo for record in registry.releases(TITANIC.digest()))
        checks = Checks(tensor_shapes=tensor_shapes, certify_epsilon=lambda _m, _d: seat.guarantee.epsilon)
        desk = Desk(config, registry, load_provider_keys(config), checks)
        session = desk.begin(silo, Wish(round_challenge=offer.challenge, plaintext_length=len(data)))
        sealed = seal(
            io.BytesIO(data),
            directory / f"{silo}.ldx",
            SealOrder(
                silo=silo,
                session=session,
                offer=offer,
                guarantee=seat.guarantee,
                counter=counter,
                now=datetime.now(UTC).replace(microsecond=0),
            ),
            signer=identity.signer,
            recipient=identity.keyring.provider.recipients[0],
        )
        stream = desk.receive(silo, sealed.header)
        for chunk in sealed.chunks(stream.next_index):
            stream.write(chunk)
        stream.finish()
        stream.close()
        desk.commit(silo, sealed.header.upload_id, sealed.header.statement.digest().hex(), 0)


@pytest.fixture(scope="module")
def delivered(
    config: ProviderConfig,
    founded: tuple[Path, str],
    base: BaseLLM,
    make_seat: Callable[..., Seat],
    tmp_path_factory: pytest.TempPathFactory,
) -> Seat:
    seat = make_seat(TITANIC, "archive", 4)
    _send(founded, "archive", seat, base, tmp_path_factory.mktemp("silo"))
    with Registry(config.registry) as registry:
        review(registry, config.limits, _keyring(config))
    return seat


def test_an_accepted_expert_takes_its_seat(config: ProviderConfig, base: BaseLLM, delivered: Seat) -> None:
    (seat,) = open_assembly(config, base).seats("titanic")
    assert (seat.silo, seat.guarantee) == ("archive", delivered.guarantee)
    np.testing.assert_array_equal(seat.expert.weight_CD, delivered.expert.weight_CD)
    np.testing.assert_array_equal(seat.expert.class_counts_C, delivered.expert.class_counts_C)


def test_a_revoked_silo_s_expert_speaks_no_more(  # noqa: PLR0913, PLR0917 - fixtures
    config: ProviderConfig,
    founded: tuple[Path, str],
    base: BaseLLM,
    make_seat: Callable[..., Seat],
    tmp_path: Path,
    delivered: Seat,
) -> None:
    del delivered
    _send(founded, "leaver", make_seat(TITANIC, "leaver", 6), base, tmp_path)
    with Registry(config.registry) as registry:
        review(registry, config.limits, _keyring(config))
    assembly = open_assembly(config, base)
    assert "leaver" in {seat.silo for seat in assembly.seats("titanic")}
    assembly.seat("titanic", make_seat(TITANIC, "guest", 8))
    measured = open_assembly(config, base, fixed=True)
    question = "A woman of 30 in first class, fare 80 pounds. Did she survive the Titanic?"
    assert measured.answer(question, max_new_tokens=2)
    assert assembly.refresh() == Change()
    revoke(config.home, "leaver")
    # At the next question of a new process, and of one that keeps its assembly open; nobody else loses a seat.
    assert "leaver" not in {seat.silo for seat in open_assembly(config, base).seats("titanic")}
    assert "leaver" not in assembly.answer(question, max_new_tokens=2).silos
    assert {seat.silo for seat in assembly.seats("titanic")} == {"archive", "guest"}
    # What is being measured does not change unnoticed.
    with pytest.raises(InputError, match="leaver"):
        measured.answer(question, max_new_tokens=2)
    # New keys do not give the old ones' expert its voice back.
    home = tmp_path / "leaver"
    request = request_by_invitation(home, invite(config.home, "leaver"), new_keys=True)
    enrol(config.home, [request])
    assert "leaver" not in {seat.silo for seat in open_assembly(config, base).seats("titanic")}


def test_an_expert_speaks_from_its_review_to_its_withdrawal(
    config: ProviderConfig,
    founded: tuple[Path, str],
    base: BaseLLM,
    make_seat: Callable[..., Seat],
    tmp_path: Path,
) -> None:
    _send(founded, "visitor", make_seat(TITANIC, "visitor", 5), base, tmp_path)

    def silos() -> set[str]:
        return {seat.silo for seat in open_assembly(config, base).seats("titanic")}

    live = open_assembly(config, base)
    others = set(live.seats("titanic"))
    assert "visitor" not in silos()
    with Registry(config.registry) as registry:
        review(registry, config.limits, _keyring(config))
        assert "visitor" in silos()
        # So it does in an assembly that was open before, where nobody else's seat is touched.
        assert live.refresh() == Change(joined=[("titanic", "visitor")])
        assert others < set(live.seats("titanic"))
        (record,) = [record for record in registry.releases(TITANIC.digest()) if record.silo == "visitor"]
        registry.withdraw(record.release_id, "test")
    assert "visitor" not in silos()
    assert live.refresh() == Change(left=[("titanic", "visitor")])
    assert set(live.seats("titanic")) == others


def test_a_silo_s_newest_expert_has_its_seat(
    config: ProviderConfig,
    founded: tuple[Path, str],
    base: BaseLLM,
    make_seat: Callable[..., Seat],
    tmp_path: Path,
) -> None:
    live = open_assembly(config, base)
    _send(founded, "returner", make_seat(TITANIC, "returner", 9), base, tmp_path)
    with Registry(config.registry) as registry:
        review(registry, config.limits, _keyring(config))
    live.refresh()
    newer = make_seat(TITANIC, "returner", 10)
    _send(founded, "returner", newer, base, tmp_path)
    with Registry(config.registry) as registry:
        review(registry, config.limits, _keyring(config))
    assert live.refresh() == Change(replaced=[("titanic", "returner")])
    for assembly in (live, open_assembly(config, base)):
        (seat,) = [seat for seat in assembly.seats("titanic") if seat.silo == "returner"]
        np.testing.assert_array_equal(seat.expert.weight_CD, newer.expert.weight_CD)
    revoke(config.home, "returner")
    assert live.refresh() == Change(left=[("titanic", "returner")])


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        console.run(app, arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_ask_and_eval_answer_on_the_command_line(
    config: ProviderConfig, delivered: Seat, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del delivered
    question = "A woman of 30 in first class, fare 80 pounds. Did she survive the Titanic?"
    assert _run("ask", question, "--home", str(config.home), "--json", "--asker", "archive") == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {
        "answer",
        "schema",
        "probabilities",
        "expert_probabilities",
        "experts",
        "facts",
        "missing",
        "conflicts",
    }
    assert answer["experts"] == (["archive"] if answer["schema"] else [])
    assert _run("ask", question, "--home", str(config.home)) == 0
    assert capsys.readouterr().out.strip()
    features = {feature.name: None for feature in TITANIC.features} | {"sex": "female", "age": 30}
    line = {"id": 1, "schema": "titanic", "question": question, "features": features, "label": "yes"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    arguments = ("eval", "--questions", str(tmp_path / "questions.jsonl"), "--home", str(config.home))
    assert _run(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["questions"] == 1
    assert _run(*arguments) == 0
    assert "reader.exact_match" in capsys.readouterr().out


def test_a_revocation_by_command_silences_the_expert_at_the_next_question(  # noqa: PLR0913, PLR0917 - fixtures
    config: ProviderConfig,
    founded: tuple[Path, str],
    base: BaseLLM,
    delivered: Seat,
    make_seat: Callable[..., Seat],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del delivered
    _send(founded, "suspect", make_seat(TITANIC, "suspect", 7), base, tmp_path)
    with Registry(config.registry) as registry:
        review(registry, config.limits, _keyring(config))
    # Two training steps teach a reader nothing: it is told the route.
    monkeypatch.setattr(Reader, "read", lambda _, asked: [Reading("titanic", 1.0, {}, {}) for _ in asked])

    def said() -> tuple[list[str], dict[str, bool]]:
        assert _run("ask", "Did she survive the Titanic?", "--home", str(config.home), "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert _run("releases", str(config.home), "--json") == 0
        listed = json.loads(capsys.readouterr().out)
        return sorted(answer["experts"]), {one["silo"]: one["speaks"] for one in listed}

    experts, speaks = said()
    assert experts == ["archive", "suspect"]
    assert speaks["suspect"]
    assert _run("revoke", str(config.home), "suspect") == 0
    assert capsys.readouterr().out.startswith("revoked suspect")
    experts, speaks = said()
    assert experts == ["archive"]
    assert not speaks["suspect"]
    assert _run("releases", str(config.home)) == 0


@pytest.mark.parametrize("content", [None, "{}\n", ""])
def test_eval_refuses_what_is_no_file_of_questions(
    config: ProviderConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = tmp_path / "questions.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert _run("eval", "--questions", str(path), "--home", str(config.home), "--json") == 2
    told = capsys.readouterr()
    error = json.loads(told.err.strip().splitlines()[-1])
    assert error["error"] == "QuestionError"
    assert str(path) in error["problem"]
    assert not told.out


@pytest.mark.parametrize("arguments", [["ask", "Why?"], ["eval", "--questions", "q.jsonl"], ["connect"]])
def test_a_directory_that_is_no_providers_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("LLAMDEX_PROVIDER_HOME", str(tmp_path / "nobody"))
    assert _run(*arguments) == 2
    assert "ConfigError" in capsys.readouterr().err


def test_connect_trains_or_takes_from_the_cache(
    config: ProviderConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "ReaderRecipe", lambda: READER)
    monkeypatch.setattr(fitting, "InjectorRecipe", lambda: INJECTOR)
    assert _run("connect", "--home", str(config.home)) == 0
    assert "Nothing was to be trained" in capsys.readouterr().out
    assert _run("connect", "--home", str(config.home), "--fresh") == 0
    assert "were trained" in capsys.readouterr().out


def test_a_provider_serves_its_schemas_by_name(tmp_path: Path) -> None:
    config = ProviderConfig(home=tmp_path, provider="p", trust_domain="t", address="127.0.0.1:0")
    with pytest.raises(ConfigError, match="add-schema"):
        provider_schemas(config)
    config.schemas.mkdir()
    for name in ("titanic", "heart"):
        _write(config, load_library_schema(name))
    assert [schema.name for schema in provider_schemas(config)] == ["heart", "titanic"]
    changed = json.dumps(TITANIC.as_dict()).replace("fare paid for the ticket", "price of the ticket")
    (config.schemas / "other.json").write_text(changed, encoding="utf-8")
    with pytest.raises(ConfigError, match="titanic"):
        provider_schemas(config)


def test_a_domain_of_the_providers_own_may_have_its_wording(  # noqa: PLR0913, PLR0917 - fixtures
    tmp_path: Path,
    base: BaseLLM,
    tiny_encoder: Path,
    toy_schema: Schema,
    make_seat: Callable[..., Seat],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitting, "packaged_encoder", lambda: tiny_encoder)
    config = ProviderConfig(home=tmp_path, provider="p", trust_domain="t", address="127.0.0.1:0")
    config.schemas.mkdir()
    _write(config, toy_schema)

    def fit() -> bool:
        return fit_connectors(config, base, reader_recipe=READER, injector_recipe=INJECTOR)

    assert [fit(), fit()] == [True, False], "what the schema says of itself is a wording"
    own = config.wordings / "fruit"
    own.mkdir(parents=True)
    with pytest.raises(SchemaError, match="fruit"):
        fit()
    text = (Path(__file__).parents[2] / "fixtures" / "fruit.toml").read_text(encoding="utf-8")
    (own / "me.toml").write_text(text, encoding="utf-8")
    assert [fit(), fit()] == [True, False]
    (own / "me.toml").write_text(text.replace("a red skin", "a ruddy skin"), encoding="utf-8")
    assert fit() is True, "another wording makes other connectors"
    (own / "she.toml").write_text(text.replace("a red skin", "a crimson skin"), encoding="utf-8")
    assert fit() is True, "a second author's too"
    assembly = open_assembly(config, base)
    assembly.seat("fruit", make_seat(toy_schema, "orchard"))
    assert assembly.answer("A red fruit of 51 grams. Ripe?", max_new_tokens=2).text is not None


def test_a_schema_joins_a_reader_that_knows_the_others(
    tmp_path: Path, tiny_encoder: Path, toy_schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitting, "packaged_encoder", lambda: tiny_encoder)
    config = ProviderConfig(home=tmp_path, provider="p", trust_domain="t", address="127.0.0.1:0")
    config.schemas.mkdir()
    _write(config, TITANIC)
    steps: list[int] = []

    def fit(*, fresh: bool = False) -> tuple[Path, bool]:
        steps.clear()
        return fit_reader(
            config,
            recipe=READER,
            extension=replace(EXTENSION, enough=0.0),
            fresh=fresh,
            on_progress=lambda _, done, __: steps.append(done),
        )

    alone, _ = fit()
    assert steps == [1, 2]
    before = Reader.load(alone)
    _write(config, toy_schema)
    both, trained = fit()
    assert trained
    assert len(steps) == 2 * 3, "two rounds of the lots that six questions and others make"
    joined = Reader.load(both)
    assert set(joined.schemas) == {"titanic", "fruit"}
    asked = ["A man of 51 in third class. Did he survive?"]
    one, other = (reader.read(asked, schema="titanic")[0] for reader in (joined, before))
    assert (one.features, one.confidence) == (other.features, other.confidence)
    assert fit() == (both, False)
    assert fit(fresh=True) == (both, True)
    assert steps == [1, 2]
    (alone / "reader.safetensors").write_bytes(b"damaged")
    shutil.rmtree(both)
    fit()
    assert steps == [1, 2], "what cannot be read is not gone on from"


def test_a_provider_of_texts_needs_no_table_and_its_injector_no_text(
    tmp_path: Path, base: BaseLLM, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitting, "packaged_encoder", lambda: tiny_encoder)
    config = ProviderConfig(home=tmp_path, provider="p", trust_domain="t", address="127.0.0.1:0")
    config.schemas.mkdir()
    _write(config, SENTIMENT)
    recipe = TextReaderRecipe(tabular=READER, steps=2, batch=2)

    def fit() -> bool:
        return fit_connectors(config, base, reader_recipe=recipe, injector_recipe=INJECTOR)

    assert [fit(), fit()] == [True, False]
    assert isinstance(load_reader(config.connectors), TextReader)
    cache = tmp_path / "cache" / "llamdex-fl" / "connectors"
    injectors = sorted(cache.glob("injector-*"))
    own = config.wordings / "sentiment"
    own.mkdir(parents=True)
    with pytest.raises(SchemaError, match="sentiment"):
        fit()
    text = (files("llamdex_fl.connectors.texts") / "wording" / "sentiment" / "press.toml").read_text(encoding="utf-8")
    (own / "me.toml").write_text(text, encoding="utf-8")
    assert fit() is True, "another wording makes another reader"
    assert sorted(cache.glob("injector-*")) == injectors
    assert open_assembly(config, base).schemas == []


def test_what_reads_texts_names_connectors_only_where_texts_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "connectors"
    shutil.copytree(Path(fitting.__file__).parents[1] / "llamdex_fl" / "connectors", code)
    monkeypatch.setattr(fitting, "files", lambda _: code)
    tables, texts = [training_wording(TITANIC)], [training_text_wording(SENTIMENT)]

    def keys() -> tuple[str, str]:
        return fitting._key(tables, "a"), fitting._key(tables, "a", texts=texts)

    before = keys()
    (code / "texts" / "training.py").write_text("# changed", encoding="utf-8")
    assert keys()[0] == before[0]
    assert keys()[1] != before[1]
    (code / "reader" / "training.py").write_text("# changed", encoding="utf-8")
    assert keys()[0] != before[0]


def _write(config: ProviderConfig, schema: Schema) -> None:
    (config.schemas / f"{schema.digest()}.json").write_text(json.dumps(schema.as_dict()), encoding="utf-8")


def test_an_injector_of_the_provider_is_for_its_llm(config: ProviderConfig, base: BaseLLM) -> None:
    assert Injector.load(config.connectors, base_digest=base.digest).base_digest == base.digest


def test_an_export_answers_as_the_provider_does(
    config: ProviderConfig, delivered: Seat, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exported"
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["export", str(folder), "--home", str(config.home), "--json"])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["experts"]["titanic"] == [seat.silo for seat in open_assembly(config).seats("titanic")]
    assert delivered.silo in told["experts"]["titanic"]
    question = "A woman of 30 in first class, fare 80 pounds. Did she survive the Titanic?"
    loaded = AssembledLlamdex.from_pretrained(folder)
    assert loaded.answer(question, max_new_tokens=4) == open_assembly(config).answer(question, max_new_tokens=4)
