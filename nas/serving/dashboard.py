"""Dashboard: Optuna's own, on the study of a run, to look at and not to touch.

It shows feasible and infeasible trials apart and names the objectives. A trial of which not every
objective was found out has none there, as one that was pruned: what a sampler was told in its
place is no result. Optuna-dashboard knows
constraints only as an attribute that newer Optuna does not write any more, so the storage that it
is given adds it to what it reads. Nothing is ever written: the storage refuses it, and so does the
server (`nas.serving.dashboard_server`), which answers ``GET`` and ``HEAD`` alone.
"""

import copy
from collections.abc import Callable, Container, Sequence
from typing import Any, NoReturn

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

LEGACY_CONSTRAINTS = "constraints"
NAMES = "study:metric_names"


class ReadOnlyError(RuntimeError):
    """Something was to be written through a storage that only shows."""


class ReadOnlyStorage(BaseStorage):
    """One study of a storage, with what optuna-dashboard needs to show it in full.

    Args:
        names: Of the objectives, for people.
        is_known: Whether all the values of a finished trial were found out.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: str,
        names: Sequence[str],
        is_known: Callable[[FrozenTrial], bool],
    ) -> None:
        self._storage = storage
        self._study = study
        self._names = list(names)
        self._is_known = is_known
        self._shown: dict[int, FrozenTrial] = {}

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._storage.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._storage.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._storage.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_system_attrs(study_id) | {NAMES: self._names}

    def get_all_studies(self) -> list[FrozenStudy]:
        found = [s for s in self._storage.get_all_studies() if s.study_name == self._study]
        for study in found:
            study.system_attrs = study.system_attrs | {NAMES: self._names}
        return found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._as_shown(self._storage.get_trial(trial_id))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        trials = map(self._as_shown, self._storage.get_all_trials(study_id, deepcopy=False))
        shown = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return self._as_shown(self._storage.get_best_trial(study_id))

    def best_trials(self, study_id: int) -> list[FrozenTrial]:
        """Returns the feasible trials that none dominates, as Optuna itself tells them."""
        name = self.get_study_name_from_id(study_id)
        return optuna.load_study(study_name=name, storage=self).best_trials

    def _as_shown(self, trial: FrozenTrial) -> FrozenTrial:
        """Returns a copy of a trial with no made-up value, and constraints where they are read."""
        known = self._shown.get(trial._trial_id)
        if known is not None and known.state.is_finished():
            return known
        shown = copy.copy(trial)
        constraints = [trial.constraints[name] for name in sorted(trial.constraints)]
        shown._system_attrs = trial._system_attrs | {LEGACY_CONSTRAINTS: constraints}
        if trial.state == TrialState.COMPLETE and not self._is_known(trial):
            shown.state, shown.values = TrialState.PRUNED, None
        self._shown[trial._trial_id] = shown
        return shown

    def _refuse(self, *given: object, **named: object) -> NoReturn:
        raise ReadOnlyError("the dashboard shows this study and changes nothing in it")

    create_new_study = delete_study = create_new_trial = _refuse
    set_study_user_attr = set_study_system_attr = _refuse
    set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse
