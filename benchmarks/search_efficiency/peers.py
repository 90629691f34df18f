"""Peers: samplers of other projects, on the same tables, as their own pages say they are used.

    pip install botorch        # qNEHVI
    pip install smac           # ParEGO on random forests

They are imported when they are asked for; nothing else of this project needs them.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.search_efficiency.outcomes import Values
from benchmarks.search_efficiency.table import Table
from search_spaces.graphs.errors import UserError

FIRST = 20  # random ones of each, as of ours
BATCH = 5  # that are chosen together, as of ours
CHUNK = 4096  # rows that are judged at once
MOST = 8  # trials for each row, of a method that may repeat itself


def qnehvi(table: Table, seed: int) -> Iterator[int]:
    """Yields what botorch's noisy expected hypervolume improvement takes, of all unseen rows.

    Gaussian processes with botorch's defaults, on one-hot genes; the reference is the median
    accuracy of the first rows and the largest cost seen, as in our own sampler.

    Source: Daulton, Balandat, Bakshy, "Parallel Bayesian Optimization of Multiple Noisy
    Objectives with Expected Hypervolume Improvement", NeurIPS 2021,
    https://arxiv.org/abs/2105.08195; Ament et al., NeurIPS 2023, https://arxiv.org/abs/2310.20708.
    """
    torch, optimize = installed("torch"), installed("botorch.optim")
    hot = torch.from_numpy(one_hot(table))
    losses = table.logarithmic * [1, -1]
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)  # botorch draws from the global stream
    seen = rng.permutation(len(hot))[:FIRST].tolist()
    yield from seen
    while len(seen) < len(hot):
        unseen = np.setdiff1d(np.arange(len(hot)), seen)
        wanted = improvement(hot[seen], losses[seen])
        count = min(BATCH, len(unseen))
        found, _ = optimize.optimize_acqf_discrete(
            wanted, count, hot[unseen], max_batch_size=CHUNK, unique=True
        )
        rows = [unseen[int((hot[unseen] == each).all(dim=1).nonzero()[0])] for each in found]
        seen += map(int, rows)
        yield from map(int, rows)


def improvement(hot: Any, told: Values) -> Any:  # noqa: ANN401  (botorch's own types)
    """Returns botorch's acquisition function after these rows were told, more of both better."""
    torch, models = installed("torch"), installed("botorch.models")
    multi = installed("botorch.acquisition.multi_objective.logei")
    likelihoods = installed("gpytorch.mlls")
    values = torch.from_numpy(told)
    each = [models.SingleTaskGP(hot, values[:, [at]]) for at in (0, 1)]
    model = models.ModelListGP(*each)
    fitted = likelihoods.SumMarginalLogLikelihood(model.likelihood, model)
    installed("botorch.fit").fit_gpytorch_mll(fitted)
    corner = torch.tensor([np.median(told[:FIRST, 0]), told[:, 1].min()])
    return multi.qLogNoisyExpectedHypervolumeImprovement(model, corner, hot, prune_baseline=True)


def parego(table: Table, seed: int) -> Iterator[int]:
    """Yields what SMAC proposes by random forests and ParEGO's weights, each told at once.

    Source: Lindauer et al., "SMAC3: A Versatile Bayesian Optimization Package", JMLR 2022,
    https://jmlr.org/papers/v23/21-0888.html; Knowles, ParEGO, IEEE TEVC 2006,
    https://doi.org/10.1109/TEVC.2005.851274.
    """
    facade = installed("smac.facade").HyperparameterOptimizationFacade
    weights, runs = installed("smac.multi_objective.parego"), installed("smac.runhistory")
    scenarios, spaces = installed("smac.scenario"), installed("ConfigSpace")
    choices = {choice.name: [str(v) for v in choice.values] for choice in table.choices}
    with TemporaryDirectory() as folder:
        scenario = scenarios.Scenario(
            spaces.ConfigurationSpace(space=choices, seed=seed),
            objectives=["error", "cost"],
            deterministic=True,
            n_trials=MOST * len(table.genes),
            seed=seed,
            output_directory=Path(folder),
        )
        search = facade(
            scenario,
            lambda config, seed: 0.0,  # asked and told, it is never called
            initial_design=facade.get_initial_design(scenario, n_configs=FIRST),
            multi_objective_algorithm=weights.ParEGO(scenario),
            overwrite=True,
            logging_level=False,
        )
        while True:
            asked = search.ask()
            row = table.rows[tuple(str(asked.config[name]) for name in choices)]
            accuracy, cost = table.logarithmic[row]
            search.tell(asked, runs.TrialValue(cost=[1 - accuracy, cost]), save=False)
            yield row


def one_hot(table: Table) -> Values:
    """Returns a column for each value of each gene, 1 where an architecture has it."""
    genes = np.array(table.genes)
    columns = [genes[:, at] == str(v) for at, c in enumerate(table.choices) for v in c.values]
    return np.stack(columns, axis=1).astype(np.float64)


def installed(module: str) -> Any:  # noqa: ANN401
    """Returns a module of another project.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        project = module.partition(".")[0].lower()
        raise UserError(
            f"{module} is not installed ({error}); pip install {project}, or leave this method out"
        ) from None


PEERS: Mapping[str, Callable[[Table, int], Iterator[int]]] = {
    "botorch qNEHVI": qnehvi,
    "smac ParEGO": parego,
}
