"""Targets of every form: the numbers that make them, and what they hold for a result."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.kernels.epilogue import CodeStep, SignNorm, TargetValues
from latency_models.kernels.view import REAL, Form

Array = NDArray[Any]
F = np.float32
SIGNED, UNSIGNED = Form("codes", 8, 128), Form("codes", 8)
NIBBLES, SIGNED_NIBBLES = Form("codes", 4), Form("codes", 4, 8)
SIGNS, PAIRS, SIGNED_PAIRS = Form("planes", 1), Form("planes", 2), Form("planes", 2, 2)
TARGETS = (REAL, SIGNED, NIBBLES, SIGNS, SIGNED_PAIRS)  # the first is compared with the oracle
STEPS = {SIGNED: 0.11, NIBBLES: 0.5, SIGNED_PAIRS: 1.3}


def values_of(form: Form, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Numbers of a map as they lie in memory."""
    if form == REAL:
        return rng.normal(size=shape).astype(F)
    return rng.integers(0, form.highest + 1, size=shape)


def sign_norm(channels: int, rng: np.random.Generator) -> SignNorm:
    return SignNorm(*rng.normal(size=(2, channels)).astype(F))


def target_values(forms: Sequence[Form], norm: SignNorm) -> tuple[TargetValues, ...]:
    """What an epilogue needs for targets of these forms."""
    steps = {form: CodeStep.of(step) for form, step in STEPS.items()}
    return tuple(norm if form == SIGNS else steps.get(form) for form in forms)


def written(form: Form, result: Array, norm: SignNorm) -> Array:
    """What a target holds for a result (C, H, W)."""
    if form == REAL:
        return result
    if form == SIGNS:
        each = (slice(None), None, None)
        return result * norm.gain[each] + norm.bias[each] >= 0
    codes = np.rint(result * F(CodeStep.of(STEPS[form]).inverse)) + form.zero
    return np.clip(codes, 0, form.highest)
