"""Recipes: named sets of defaults for the keys of `training`; what is said explicitly wins."""

from collections.abc import Mapping
from typing import Any

from nas.data.augmentation.settings import Augmentation
from nas.problem.records import RecipeName, TrainingConfig

Settings = Mapping[str, Any]

# What learns most in few epochs; docs/decisions/024 says what each key brought.
FAST: Settings = {
    "optimizer": "muon",
    "learning_rate": 0.02,
    "fall": "linear",
    "whitening": True,
}

RECIPES: Mapping[str, Settings] = {
    "fast": FAST,
    "plain": {},  # AdamW and a cosine, as `TrainingConfig` has them, and older hwnas had
}
# Keys that mean something else beside another optimizer than the recipe's own.
OF_OPTIMIZER = ("learning_rate", "weight_decay", "momentum")


def with_recipe(given: Settings, usual: RecipeName) -> dict[str, Any]:
    """Returns the keys of `training` with what their recipe says where they say nothing.

    Args:
        given: As in a file; what is wrong in it stays, for others to tell.
        usual: The recipe where none is named.
    """
    name = given.get("recipe", usual)
    if not isinstance(name, str) or name not in RECIPES:
        return dict(given)
    settings = dict(RECIPES[name])
    if given.get("optimizer", settings.get("optimizer")) != settings.get("optimizer"):
        settings = {key: value for key, value in settings.items() if key not in OF_OPTIMIZER}
    return {"recipe": name, **settings, **given}


def training_config(**given: Any) -> TrainingConfig:  # noqa: ANN401  (settings of many kinds)
    """Returns how networks are trained by a recipe, the fast one where none is named.

    Raises:
        UserError: If a setting is wrong.
    """
    settings = with_recipe(given, "fast")
    augmentation = settings.pop("augmentation", {})
    if isinstance(augmentation, Mapping):
        augmentation = Augmentation(**augmentation)
    return TrainingConfig(**settings, augmentation=augmentation)
