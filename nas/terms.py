"""Terms: what all drivers of one study must have in common, kept in the study itself.

Settings that may differ are left out: where the study and the data lie, how many trials and
workers; whether the data is the same, its fingerprints tell.
"""

from collections.abc import Mapping
from typing import Any

import optuna

from latency_models.device import cpu_name, get_device
from nas import yaml_text
from nas.config import RunConfig
from nas.data.summary import data_summary
from nas.instruments import needs_latency
from nas.run_file import RunFile, differences, to_yaml
from nas.setting import Setting
from nas.versions import versions
from search_spaces.errors import UserError

TERMS = "terms"  # user attribute of a study
MAY_CHANGE = frozenset(
    {
        *("search.trials", "search.workers", "search.cpus", "search.gpus"),
        "latency.time_limit_s",
    }
)
OWN = frozenset({"data", "search.storage", "search.workers", "search.trials", "resources"})


def terms_of(
    file: RunFile, config: RunConfig, setting: Setting, *, is_here: bool
) -> dict[str, Any]:
    """Returns the terms of a search, as JSON-ready data without passwords.

    Args:
        is_here: Whether candidates are evaluated on this machine, whose CPU counts then.
    """
    data = yaml_text.load(to_yaml(file))
    for key in OWN | MAY_CHANGE:
        section, _, name = key.partition(".")
        if name:
            data.get(section, {}).pop(name, None)
        else:
            data.pop(section, None)
    fingerprints = data_summary(setting.splits)["fingerprints"]
    measures_here = is_here and needs_latency(config) and is_this_machine(config)
    return {
        "config": data,
        "version": versions()["hwnas"],
        "data": {name: fingerprint[:16] for name, fingerprint in fingerprints.items()},
        "cpu": cpu_name() if measures_here else None,
    }


def is_this_machine(config: RunConfig) -> bool:
    return not get_device(config.latency.device).is_remote


def agree(study: optuna.Study, terms: Mapping[str, Any], *, join: bool) -> None:
    """Makes sure that the study is searched on these terms, which a new study is from now on.

    Args:
        join: Whether this driver joins others; one that goes on alone brings newer terms.

    Raises:
        UserError: If they are not the study's; the message says what differs.
    """
    before = study.user_attrs.get(TERMS)
    if before == terms:
        return
    if before is not None and join:
        different = "; ".join(differences(before, terms))
        raise UserError(
            f"study {study.study_name!r} is searched on other terms ({different}); make them the "
            "same as where it was begun, or search on your own with --set name=NAME"
        )
    study.set_user_attr(TERMS, dict(terms))
