"""An assembly that follows its provider's registry: experts join, are replaced and leave while it is in use.

Nothing is trained and no other expert is touched: an expert is a seat behind connectors that know no expert.
"""

from dataclasses import dataclass, field

from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.connectors.texts import load_reader
from llamdex_fl.errors import InputError
from llamdex_fl.experts import Expert
from provider_server.config import ProviderConfig
from provider_server.registry import Registry
from provider_server.speaking import speaking_releases

__all__ = ["Change", "LiveAssembly", "open_assembly", "open_connectors"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What became of the seats since the registry was last looked at; each entry is (schema, silo)."""

    joined: list[tuple[str, str]] = field(default_factory=list)
    replaced: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


class LiveAssembly(AssembledLlamdex):
    """A provider's assembly: before each answer it seats who may speak now, and unseats who may not any more.

    Args:
        config: the provider.
        base: the frozen LLM.
        reader: from questions to experts.
        injector: from experts to the LLM.
        fixed: for measuring: the experts that it was opened with are all that speak, and it refuses to go on with
            fewer.
    """

    def __init__(
        self, config: ProviderConfig, base: BaseLLM, reader: Reader, injector: Injector, *, fixed: bool = False
    ) -> None:
        """Put the shared parts together; ``refresh`` seats the experts."""
        super().__init__(base, reader, injector)
        self._config = config
        self._fixed = fixed
        # Once: a digest takes milliseconds, and the registry is looked at before every answer.
        self._digests = {schema.digest(): schema for schema in reader.schemas.values()}
        #: (schema, silo): the release that has the seat. A seat that somebody else gave is not in it, and is kept.
        self._seated: dict[tuple[str, str], str] = {}

    def refresh(self) -> Change:
        """Seat every expert of the registry that may speak, each silo's newest, and unseat the others.

        Raises:
            KeyringError: there are experts, and the provider's keyring is missing or has expired.
            ArtefactError: the weights of one are missing or damaged; the seats are as they were but for its own.
        """
        change = Change()
        with Registry(self._config.registry) as registry:
            wanted: dict[tuple[str, str], str] = {}
            # In the log's order, which is finer than the time of acceptance: a silo's newest stands last.
            for record in speaking_releases(self._config, registry):
                if record.schema_digest in self._digests:
                    wanted[self._digests[record.schema_digest].name, record.silo] = record.release_id
            for place in sorted(self._seated.keys() - wanted.keys()):
                self.unseat(*place)
                del self._seated[place]
                change.left.append(place)
            for place, release_id in wanted.items():
                before = self._seated.get(place)
                if before == release_id:
                    continue
                schema, silo = self.schema(place[0]), place[1]
                release, _ = registry.load_release(release_id)
                expert = Expert.from_tensors(schema, release.tensors, release.architecture)
                self.seat(schema.name, Seat(silo, expert, release.guarantee))
                self._seated[place] = release_id
                (change.joined if before is None else change.replaced).append(place)
        return change

    def attend(self) -> None:
        """Let those speak who may speak now.

        Raises:
            InputError: a seat was lost, and the assembly is fixed.
            KeyringError: the provider's keyring is missing or has expired.
            ArtefactError: a new expert's weights are missing or damaged.
        """
        if self._fixed:
            self._require_all()
        else:
            self.refresh()

    def _require_all(self) -> None:
        with Registry(self._config.registry) as registry:
            speaking = {record.release_id for record in speaking_releases(self._config, registry)}
        gone = sorted({silo for (_, silo), release_id in self._seated.items() if release_id not in speaking})
        if gone:
            raise InputError(
                "An expert that was being measured may speak no more.",
                expected="the same experts from the first question to the last",
                got=f"revoked or withdrawn meanwhile: {', '.join(gone)}",
                next_step="give the command again: it measures those that are left",
            )


def open_assembly(config: ProviderConfig, base: BaseLLM | None = None, *, fixed: bool = False) -> LiveAssembly:
    """The base LLM, the provider's connectors, and every expert of the registry that may speak.

    Args:
        config: the provider.
        base: the frozen LLM; the configured one if None.
        fixed: see ``LiveAssembly``.

    Raises:
        ArtefactError: the connectors are missing or for another base LLM, or an expert's weights are damaged.
        KeyringError: there are experts, and the provider's keyring is missing or has expired.
    """
    assembly = LiveAssembly(config, *_parts(config, base), fixed=fixed)
    assembly.refresh()
    return assembly


def open_connectors(config: ProviderConfig, base: BaseLLM | None = None) -> AssembledLlamdex:
    """The base LLM and the provider's connectors, no expert behind them yet.

    Raises:
        ArtefactError: the connectors are missing or for another base LLM.
    """
    return AssembledLlamdex(*_parts(config, base))


def _parts(config: ProviderConfig, base: BaseLLM | None) -> tuple[BaseLLM, Reader, Injector]:
    # First what takes a moment to find missing, then the LLM, which takes seconds to load.
    reader = load_reader(config.connectors)
    base = base or load_base_llm(config.base_llm)
    return base, reader, Injector.load(config.connectors, base_digest=base.digest)
