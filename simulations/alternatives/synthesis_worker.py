"""Draws a synthetic table under differential privacy, in an environment of its own (``make synthesis-env``).

This file is run by another interpreter, in which dpmm is installed and nothing of this project is: it reads one JSON
request on stdin, reads and writes CSV files of whole numbers, and prints one JSON reply. dpmm's own preparation of
tables is switched off, since it looks at the records (where values are absent, which columns are constant, one of the
private values as a filler): the caller has coded every column by public bounds alone, so the mechanism is all that
reads a record. How many records are drawn follows from the mechanism's noisy counts too.
"""

import functools
import json
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from dpmm.models import aim, mst
from dpmm.models.base.mbi import FactoredInference, factor
from dpmm.models.base.mechanisms import cdp_rho, mechanism

#: What dpmm itself would take.
_ITERATIONS = {"aim": 1000, "mst": 5000}


def main() -> None:
    """Answer the request on stdin."""
    request: dict[str, Any] = json.load(sys.stdin)
    started = time.process_time()
    random = np.random.RandomState(request["seed"])
    iterations = request.get("iterations") or _ITERATIONS[request["method"]]
    _seed_noise(random)
    rho = _quicken(request.get("iterations"))
    table = pd.read_csv(request["table"], dtype=np.int64)
    domain = {name: int(size) for name, size in request["domain"].items()}
    kind = {"aim": aim.AIMGM, "mst": mst.MSTGM}[request["method"]]
    model = kind(
        epsilon=request["epsilon"],
        delta=request["delta"],
        n_iters=iterations,
        compress=True,
        max_model_size=request["model_megabytes"],
        domain=domain,
        random_state=random,
        n_jobs=1,
    )
    model.set_random_state(random)
    model.set_domain(domain)
    model.fit(table)
    drawn = model.generate(n_records=None)
    drawn[list(domain)].astype(np.int64).to_csv(request["synthetic"], index=False)
    reply = {
        "records": len(drawn),
        "rho": float(rho(request["epsilon"], request["delta"])),
        "seconds": time.process_time() - started,
        "version": f"dpmm {version('dpmm')}",
        "marginals": [list(clique) for clique in model.generator.cliques],
    }
    sys.stdout.write(json.dumps(reply) + "\n")


def _quicken(most: int | None) -> Any:  # noqa: ANN401 - a function of dpmm's
    """Change times and no results.

    One conversion to rho for all, plain logarithms of sums, and no expansion of a factor to the domain that it has.

    MST's inference for choosing pairs takes 2,500 iterations whatever it is told; ``most`` holds for it too.
    """
    rho = functools.cache(cdp_rho)
    mechanism.cdp_rho = rho
    mst.cdp_rho = rho
    factor.logsumexp = _logsumexp
    expand = factor.Factor.expand
    factor.Factor.expand = lambda own, domain: own if own.domain.attrs == domain.attrs else expand(own, domain)
    if most is not None:
        mst.FactoredInference = lambda domain, iters, **more: FactoredInference(domain, iters=min(iters, most), **more)
    return rho


def _logsumexp(values: Any, axis: Any = None) -> Any:  # noqa: ANN401 - arrays of any shape
    if axis is not None and not np.size(axis):
        return values
    top = values.max(axis=axis, keepdims=True)
    summed = np.log(np.exp(values - top).sum(axis=axis, keepdims=True)) + top
    return summed.item() if axis is None else np.squeeze(summed, axis=axis)


def _seed_noise(random: np.random.RandomState) -> None:
    """A simulation repeats bit for bit: dpmm draws its noise from the operating system, and takes no other source."""

    def seeded(sigma: float, size: Any = None) -> Any:  # noqa: ANN401 - as dpmm's own
        return random.normal(0.0, sigma, size)

    mechanism.gaussian_noise = seeded
    aim.gaussian_noise = seeded
    mst.gaussian_noise = seeded


if __name__ == "__main__":
    main()
