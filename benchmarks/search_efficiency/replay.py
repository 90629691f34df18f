"""Replays: what each method evaluates of a table or pool, one row after another, none twice."""

from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler

from benchmarks.search_efficiency.outcomes import Values
from benchmarks.search_efficiency.peers import PEERS
from benchmarks.search_efficiency.pool import NearestSampler, Pool
from benchmarks.search_efficiency.table import Table
from nas.problem.pareto import crowding_distances, non_dominated
from nas.problem.records import SAMPLERS, SearchConfig
from nas.runs.findings.earlier_run import EarlierRun
from nas.search.proposals.gate import Gate, NothingToProposeError
from nas.search.proposals.samplers import make_sampler
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import decide

ARCHIVE, OPTUNA = "archive", "nsga2 as optuna has it"
METHODS = (ARCHIVE, OPTUNA, *SAMPLERS)
WHOLE = (ARCHIVE, *PEERS)  # methods that need a table of the whole space
FIRST = 20  # random ones of the archive
MOST = 8  # trials for each evaluation, before a method that only repeats itself is given up


def evaluated(
    table: Table | Pool,
    method: str,
    seed: int,
    budget: int,
    workers: int = 1,
    earlier: Sequence[EarlierRun] = (),
) -> list[int]:
    """Returns the rows that a method evaluates with a seed, in order."""
    found: dict[int, None] = {}
    for trial, row in enumerate(rows_of(table, method, seed, workers, earlier)):
        found[row] = None
        if len(found) == budget or trial > MOST * budget:
            break
    return list(found)


def rows_of(
    table: Table | Pool, method: str, seed: int, workers: int, earlier: Sequence[EarlierRun]
) -> Iterator[int]:
    """Yields the rows that a method proposes, which may be some that it has proposed before.

    Raises:
        UserError: If the method searches tables only, and this is a pool.
    """
    if method not in WHOLE:
        return studied(table, method, seed, workers, earlier)
    if isinstance(table, Pool):
        raise UserError(f"{method} needs a table of the whole space; {table.name} is a pool")
    return archive(table, seed) if method == ARCHIVE else PEERS[method](table, seed)


def studied(
    table: Table | Pool,
    method: str,
    seed: int,
    workers: int = 1,
    earlier: Sequence[EarlierRun] = (),
) -> Iterator[int]:
    """Yields what a sampler proposes, told what each is before it is asked for the next.

    Args:
        workers: So many trials are under way whenever one is asked for.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [metric.direction for metric in table.metrics]
    study = optuna.create_study(
        sampler=sampler(table, method, seed, earlier), directions=directions
    )
    under_way: list[tuple[optuna.Trial, int]] = []
    while True:
        while len(under_way) < workers:
            trial = study.ask()
            try:
                graph = decide(table, suggest(trial)).graph
            except NothingToProposeError:
                return
            trial.set_user_attr(HASH, graph_hash(graph))
            under_way.append((trial, table.row_of(graph)))
        trial, row = under_way.pop(0)
        study.tell(trial, table.values[row].tolist())
        yield row


def sampler(
    table: Table | Pool, method: str, seed: int, earlier: Sequence[EarlierRun] = ()
) -> BaseSampler:
    """Returns a sampler as a search makes it, or as Optuna does by itself."""
    made = sampler_of_space(table, method, seed, earlier)
    return NearestSampler(made, table) if isinstance(table, Pool) else made


def sampler_of_space(
    space: Table | Pool, method: str, seed: int, earlier: Sequence[EarlierRun]
) -> BaseSampler:
    if method == OPTUNA:
        return NSGAIISampler(seed=seed)
    first = SearchConfig().initial
    return make_sampler(
        method, space, space.metrics, seed=seed, initial=first, gate=Gate(), earlier=earlier
    )


def archive(table: Table, seed: int) -> Iterator[int]:
    """The archive evolution that samplers are measured by, written for tables.

    Random ones first; then children of the front (one of equal points) by crowding tournament,
    30 % of them by uniform crossover with any other, one gene changed in 80 %, two in 20 %, none
    twice.
    """
    rng = Random(seed)
    seen: list[int] = []
    while len(seen) < len(table.genes):
        row = rng.randrange(len(table.genes)) if len(seen) < FIRST else child(table, seen, rng)
        if row in seen:
            continue
        seen.append(row)
        yield row


def child(table: Table, seen: list[int], rng: Random) -> int:
    best = np.array(seen)[non_dominated(table.values[seen], table.metrics)]
    _, firsts = np.unique(table.values[best], axis=0, return_index=True)
    front = best[np.sort(firsts)].tolist()
    distances = crowding_distances(table.values[front], table.metrics)

    def lonelier() -> int:
        first, second = rng.randrange(len(front)), rng.randrange(len(front))
        return front[first if distances[first] >= distances[second] else second]

    genes = list(table.genes[lonelier()])
    if rng.random() < 0.3:
        other = table.genes[rng.choice(front)]
        genes = [rng.choice(pair) for pair in zip(genes, other, strict=True)]
    for at in rng.sample(range(len(genes)), 1 if rng.random() < 0.8 else 2):
        genes[at] = str(rng.choice([v for v in table.choices[at].values if v != genes[at]]))
    return table.rows[tuple(genes)]


def evaluations_to(regrets: Values, share: float) -> float:
    """Returns after how many evaluations the regret is at most ``share``; inf if it never is."""
    reached = np.flatnonzero(regrets <= share)
    return float(reached[0] + 1) if len(reached) else np.inf
