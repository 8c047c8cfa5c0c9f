"""Configurations that are refused, and homes that are damaged."""

from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.errors import ArtefactError, ConfigError
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from provider_server.config import load_provider_config
from provider_server.keys import load_provider_keys
from provider_server.registry import Registry

# The type of the fixture lives in a conftest, which cannot be imported.
Bench = Any
GUARANTEE = Guarantee(
    epsilon=0.5, delta=1e-5, mechanisms=(LaplaceCounts(epsilon=0.5),), accountant="pld", accountant_version="x"
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        'provider = "p"\ntrust_domain = "d"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\nmore = "x"\n',
        'provider = "P!"\ntrust_domain = "d"\naddress = "h:1"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "nowhere"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nunknown = 1\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = "many"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = 0\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = 1.5\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nsession_seconds = nan\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = 1' + 400 * "0" + "\n",
        'provider = "p"\ntrust_domain = "d"\naddress = "h:65536"\n',
    ],
)
def test_configurations_that_are_refused(text: str, tmp_path: Path):
    (tmp_path / "provider.toml").write_text(text)
    with pytest.raises(ConfigError):
        load_provider_config(tmp_path)


def test_a_home_with_damaged_parts_is_an_error_with_a_next_step(bench: Bench):
    config = load_provider_config(bench.home)
    (config.keys / "tls-certificate.pem").unlink()
    with pytest.raises(ConfigError, match="no certificate"):
        load_provider_keys(config)
    damaged = bench.home / "damaged.sqlite"
    damaged.write_text("no database", encoding="utf-8")
    for path in (damaged, bench.home):
        with pytest.raises(ArtefactError, match="registry"):
            Registry(path)
