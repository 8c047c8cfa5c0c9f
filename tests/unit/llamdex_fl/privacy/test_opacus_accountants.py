"""The accountants inside Opacus: named engine, checkpoint and resume, calibration; its traps are not reproduced."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from opacus import PrivacyEngine
from opacus.accountants import create_accountant
from opacus.accountants.utils import get_noise_multiplier
from torch.utils.data import DataLoader, TensorDataset

from llamdex_fl.errors import InputError
from llamdex_fl.privacy import SampledGaussian, certified_epsilon, contour_epsilon, edgeworth_estimate
from llamdex_fl.privacy.opacus_accountants import EdgeworthAccountant, PLDAccountant

pytestmark = [
    pytest.mark.filterwarnings("ignore:Secure RNG turned off"),
    pytest.mark.filterwarnings("ignore:PrivacyEngine detected new dataset"),
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
]
NAMES = ("edgeworth", "pld")
HISTORY = [(1.0, 0.01, 500), (1.5, 0.02, 300)]


def engine(accountant: str, noise: float = 1.3) -> tuple[PrivacyEngine, torch.nn.Module, object, DataLoader]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    made = PrivacyEngine(accountant=accountant)
    model, optimizer, loader = made.make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(torch.randn(40, 3), torch.randint(0, 2, (40,))), batch_size=8),
        noise_multiplier=noise,
        max_grad_norm=1.0,
    )
    return made, model, optimizer, loader


def epochs(model: torch.nn.Module, optimizer: object, loader: DataLoader, number: int) -> None:
    for _ in range(number):
        for features, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(features), labels).backward()
            optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_trains_with_it_and_a_resumed_one_goes_on(name: str, tmp_path: Path) -> None:
    made, model, optimizer, loader = engine(name)
    epochs(model, optimizer, loader, 2)
    truth = contour_epsilon(
        [SampledGaussian(sampling_rate=0.2, noise_multiplier=1.3, steps=10, max_grad_norm=1.0)], 1e-3
    )
    assert len(made.accountant) == 10
    assert truth <= made.get_epsilon(1e-3) <= truth + 3e-5
    made.save_checkpoint(path=tmp_path / "run.pt", module=model)

    again, other, _, _ = engine(name)
    again.load_checkpoint(path=tmp_path / "run.pt", module=other)
    assert again.get_epsilon(1e-3) == made.get_epsilon(1e-3)
    # Resumed with other noise: a mixed schedule.
    _, model, optimizer, loader = _resumed(again)
    epochs(model, optimizer, loader, 1)
    mixed = [
        SampledGaussian(sampling_rate=0.2, noise_multiplier=noise, steps=steps, max_grad_norm=1.0)
        for noise, steps in ((1.3, 10), (2.0, 5))
    ]
    assert again.get_epsilon(1e-3) == pytest.approx(certified_epsilon(mixed, 1e-3), abs=1e-9)


def _resumed(made: PrivacyEngine) -> tuple[PrivacyEngine, torch.nn.Module, object, DataLoader]:
    model = torch.nn.Linear(3, 2)
    wrapped, optimizer, loader = made.make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(torch.randn(40, 3), torch.randint(0, 2, (40,))), batch_size=8),
        noise_multiplier=2.0,
        max_grad_norm=1.0,
    )
    return made, wrapped, optimizer, loader


@pytest.mark.parametrize("name", NAMES)
def test_its_length_counts_steps_and_its_state_is_a_copy(name: str) -> None:
    accountant = create_accountant(name)
    assert (len(accountant), accountant.get_epsilon(1e-5)) == (0, 0.0)
    for noise, rate in ((1.0, 0.01), (1.0, 0.01), (2.0, 0.01)):
        accountant.step(noise_multiplier=noise, sample_rate=rate)
    assert (len(accountant), len(accountant.history)) == (3, 2)
    state = accountant.state_dict()
    other = create_accountant(name)
    other.load_state_dict(state)
    kept = copy.deepcopy(state["history"])
    other.step(noise_multiplier=2.0, sample_rate=0.01)
    assert state["history"] == kept == accountant.history != other.history


@pytest.mark.parametrize("name", NAMES)
def test_states_that_are_none_are_refused(name: str) -> None:
    accountant = create_accountant(name)
    for bad in (
        {},
        None,
        {"history": HISTORY},
        {"history": HISTORY, "mechanism": "rdp"},
        {"history": [(1.0, 0.01)], "mechanism": name},
        {"history": [(1.0, 0.01, 0)], "mechanism": name},
        {"history": [(-1.0, 0.01, 1)], "mechanism": name},
        {"history": ["abc"], "mechanism": name},
    ):
        with pytest.raises((ValueError, InputError)):
            accountant.load_state_dict(bad)
    assert accountant.history == []


def test_opacus_calibrates_with_it() -> None:
    noise = get_noise_multiplier(
        target_epsilon=1.0,
        target_delta=1e-4,
        sample_rate=0.05,
        steps=100,
        accountant="edgeworth",
        epsilon_tolerance=0.02,
    )
    training = SampledGaussian(sampling_rate=0.05, noise_multiplier=noise, steps=100, max_grad_norm=1.0)
    assert 0.98 <= certified_epsilon([training], 1e-4) <= 1.0


def test_the_estimate_is_beside_and_never_the_epsilon() -> None:
    accountant = EdgeworthAccountant()
    accountant.history = [(0.4205, 1 / 264, 792)]
    delta = 67349**-1.1
    assert accountant.estimate(delta) == edgeworth_estimate(accountant.mechanisms(), delta)
    assert accountant.estimate(delta).epsilon < 8.01
    assert accountant.get_epsilon(delta) == accountant.report(delta).epsilon > 11.7


def test_no_noise_is_no_guarantee() -> None:
    accountant = PLDAccountant()
    accountant.step(noise_multiplier=0.0, sample_rate=0.1)
    assert accountant.get_epsilon(1e-5) == float("inf")


@pytest.mark.parametrize("module", ["llamdex_fl.privacy", "provider_server.intake", "provider_server.cli"])
def test_opacus_never_comes_with_the_core_or_the_provider(module: str) -> None:
    code = f"import sys, {module}; sys.exit('opacus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
