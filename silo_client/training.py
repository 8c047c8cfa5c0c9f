"""Training an expert on private records under differential privacy.

Order, and no step before the one above it: the recipe's mechanisms are fixed and calibrated from public numbers
alone; the ledger's entry is on the disk; the noisy class counts; DP-SGD; the entry is finished; the release. Two
mechanisms read the records, ``noisy_counts`` and, of tables, ``_dp_sgd`` or, of texts, ``learn_texts``; all that
leaves is computed from their output.

DP-SGD is Opacus's, with true Poisson sampling and noise from the operating system. What Opacus makes easy to get
wrong (see docs/adr/0004-expert-recipe.md) is absent here by construction: no clip scheduler, no ghost mode, no memory
manager, no seed, no data loader; the number of steps is planned and not derived, and an empty batch is a step. Of
tables, single records' gradients are written down rather than caught by Opacus's hooks: see ``_gradients``.

Nothing here logs, and no number computed from records stands in an error. Legend: n records, C classes, D codes.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from llamdex_fl.errors import PolicyError
from llamdex_fl.experts import architectures_for, code_records, takes_text
from llamdex_fl.privacy import (
    DataSetId,
    Guarantee,
    LaplaceCounts,
    Ledger,
    SampledGaussian,
    Spending,
    calibrate,
    certify,
    cross_check,
)
from llamdex_fl.privacy import opacus_accountants as _opacus_accountants  # noqa: F401 - registers them with Opacus
from llamdex_fl.release import Release
from llamdex_fl.schema import Schema
from silo_client.data import SiloData
from silo_client.dp_optimizer import SecureDPOptimizer, one_thread
from silo_client.noise import NoiseSource, SecureNoise, laplaces
from silo_client.policy import Authorisation
from silo_client.recipe import Recipe, recipe_for
from silo_client.text_training import TextRecipe, learn_texts, read_texts

__all__ = ["Recipe", "noisy_counts", "train"]

#: Told after each step: steps done, steps planned. Both are public.
Progress = Callable[[int, int], None]


def train(  # noqa: PLR0913 - the last three are for tests, simulations and displays
    schema: Schema,
    data: SiloData,
    authorisation: Authorisation,
    ledger: Ledger,
    *,
    recipe: Recipe | TextRecipe | None = None,
    noise: NoiseSource | None = None,
    progress: Progress | None = None,
) -> Release:
    """Train an expert for an offer that the policy allowed, and account for it.

    Args:
        schema: what the records mean.
        data: the private records.
        authorisation: from ``silo_client.policy.authorise``.
        ledger: the silo's ledger.
        recipe: public settings, of the kind that the architecture needs; None for the project's own, see
            ``recipe_for`` and ``TextRecipe``.
        noise: only for tests and simulations; None takes the operating system's generator.
        progress: called after each step.

    Returns:
        The release: the architecture's tensors, as ``llamdex_fl.experts.tensor_shapes`` names them, and their
        guarantee.

    Raises:
        PolicyError: there are more records than the policy's public bound, or the offer is for something else.
        BudgetSpentError: the ledger refuses; no record was used.
        LedgerError: the ledger cannot be used; no record was used.
        InputError: epsilon and delta cannot be met by this recipe.
        AccountantsDisagreeError: the certificate does not stand the cross-check; no record was used.
    """
    noise = SecureNoise() if noise is None else noise
    _require_fit(schema, data, authorisation)
    architecture = authorisation.offer.architecture
    if recipe is not None and isinstance(recipe, TextRecipe) != takes_text(architecture):
        raise TypeError(f"{architecture} is not trained by a {type(recipe).__name__}")
    recipe = _recipe_for(architecture, schema, authorisation.record_bound) if recipe is None else recipe
    counts, steps, guarantee = _plan(authorisation, recipe)
    entry = ledger.begin(
        Spending(
            data_set=DataSetId(digest=data.digest, name=authorisation.data_set),
            mechanisms=guarantee.mechanisms,
            purpose=authorisation.offer.purpose,
            schema_digest=schema.digest(),
            reference=authorisation.offer.challenge,
        ),
        budget=authorisation.budget,
    )
    labels_n = np.array(data.labels, np.int64)
    counts_C = noisy_counts(labels_n, len(schema.target.labels), counts, noise)
    with one_thread():
        if isinstance(recipe, Recipe):
            codes_nD = code_records(architecture, schema, data.records).astype(np.float64)
            weight_CD, bias_C = _dp_sgd(codes_nD, labels_n, counts_C, steps, recipe, noise, progress)
            learned = {"weight": weight_CD, "bias": bias_C}
        else:
            read = read_texts(architecture, schema, data)
            learned = learn_texts(
                architecture,
                read,
                labels_n,
                counts_C,
                mechanism=steps,
                recipe=recipe,
                noise=noise,
                progress=progress,
            )
    ledger.finish(entry)
    return Release(
        schema_digest=schema.digest(),
        architecture=architecture,
        tensors={name: array.astype(np.float32) for name, array in (learned | {"class_counts": counts_C}).items()},
        guarantee=guarantee,
    )


def _recipe_for(architecture: str, schema: Schema, record_bound: int) -> Recipe | TextRecipe:
    return TextRecipe() if takes_text(architecture) else recipe_for(architecture, schema, record_bound)


def _require_fit(schema: Schema, data: SiloData, authorisation: Authorisation) -> None:
    if len(data.records) > authorisation.record_bound:
        raise PolicyError(
            "The data set is larger than the policy's public bound, so its delta would not hold.",
            expected=f"at most {authorisation.record_bound} records",
            got="more",
            next_step="raise record_bound in policy.toml, and lower delta below 1 / record_bound",
        )
    offer = authorisation.offer
    known = architectures_for(schema)
    if offer.schema_digest != schema.digest() or offer.architecture not in known:
        raise PolicyError(
            "The offer is for something that is not trained here.",
            expected=f"{' or '.join(known)} for the schema {schema.digest()}",
            got=f"{offer.architecture[:80]} for {offer.schema_digest[:80]}",
            next_step="offer what the silo's policy lists",
        )


# An audit makes many releases for one offer. Every offer of a provider has a challenge of its own.
@lru_cache(maxsize=8)
def _plan(
    authorisation: Authorisation, recipe: Recipe | TextRecipe
) -> tuple[LaplaceCounts, SampledGaussian, Guarantee]:
    """Both mechanisms, with as little noise as the offer's epsilon allows. No record is looked at."""
    offer = authorisation.offer
    counts = LaplaceCounts(epsilon=recipe.counts_share * offer.epsilon)
    rough = SampledGaussian(
        sampling_rate=recipe.sampling_rate,
        noise_multiplier=1.0,
        steps=recipe.steps,
        max_grad_norm=recipe.max_grad_norm,
    )
    guarantee = certify(calibrate([counts, rough], epsilon=offer.epsilon, delta=offer.delta), offer.delta)
    cross_check(guarantee.mechanisms, guarantee.delta, guarantee.epsilon)
    steps = next(m for m in guarantee.mechanisms if isinstance(m, SampledGaussian))
    return counts, steps, guarantee


def noisy_counts(
    labels_n: NDArray[np.int64], classes: int, mechanism: LaplaceCounts, noise: NoiseSource
) -> NDArray[np.float64]:
    """The number of records of each class, with Laplace noise, as whole numbers.

    Rounding hides the noise's floating-point grid. A count below the noise's own scale says only "few", and its
    logarithm would say far more, so that is the least.
    """
    scale = 1.0 / mechanism.epsilon
    exact_C = np.bincount(labels_n, minlength=classes).astype(np.float64)
    noisy_C = np.rint(exact_C + laplaces(noise, classes, scale))
    return np.maximum(noisy_C, math.ceil(scale))


def _dp_sgd(  # noqa: PLR0913, PLR0917 - the inputs of one algorithm, all of them needed
    codes_nD: NDArray[np.float64],
    labels_n: NDArray[np.int64],
    counts_C: NDArray[np.float64],
    mechanism: SampledGaussian,
    recipe: Recipe,
    noise: NoiseSource,
    progress: Progress | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Softmax regression by DP-SGD; the mean of its weights over the steps, later steps counting more.

    Training starts from the noisy prior, so the weights need to learn only what distinguishes records. Everything
    but ``codes_nD`` and ``labels_n`` is public or released: the expected batch size is the noisy one.
    """
    records = max(float(counts_C.sum()), recipe.least_records)
    inputs = torch.from_numpy(np.column_stack([codes_nD, np.full(len(codes_nD), recipe.constant)]))
    targets = torch.from_numpy(labels_n)
    prior_C = np.log(counts_C / counts_C.sum())
    offset = torch.from_numpy(prior_C)
    weight = Parameter(torch.zeros(len(counts_C), inputs.shape[1], dtype=torch.float64))
    pace = recipe.pace(records, mechanism)
    optimizer = SecureDPOptimizer(
        torch.optim.SGD([weight], lr=pace.learning_rate, momentum=pace.momentum, weight_decay=pace.penalty),
        mechanism=mechanism,
        expected_batch_size=mechanism.sampling_rate * records,
        noise=noise,
    )
    mean = torch.zeros_like(weight, requires_grad=False)
    for step in range(mechanism.steps):
        chosen = torch.from_numpy(noise.uniforms(len(labels_n)) < mechanism.sampling_rate)
        optimizer.zero_grad()
        weight.grad_sample = _gradients(weight.detach(), offset, inputs[chosen], targets[chosen])  # type: ignore[attr-defined] # where Opacus looks for it
        optimizer.step()
        mean += (step + 1) * weight.detach()
        if progress is not None:
            progress(step + 1, mechanism.steps)
    mean /= mechanism.steps * (mechanism.steps + 1) / 2
    learned = mean.numpy()
    return learned[:, :-1], learned[:, -1] * recipe.constant + prior_C


def _gradients(weight_CD: Tensor, offset_C: Tensor, inputs_BD: Tensor, targets_B: Tensor) -> Tensor:
    """Each record's own gradient of its own loss, [B, C, D]: of a linear map it is an outer product.

    What a loss asks of the logits comes from torch, the rest is the chain rule. The loss is a sum, so a record's
    gradient does not depend on who else is in the batch. A test holds the numbers against Opacus's hooks, which make
    a step half as long again.
    """
    logits_BC = (inputs_BD @ weight_CD.T + offset_C).requires_grad_()
    (asked_BC,) = torch.autograd.grad(cross_entropy(logits_BC, targets_B, reduction="sum"), logits_BC)
    return asked_BC[:, :, None] * inputs_BD[:, None, :]
