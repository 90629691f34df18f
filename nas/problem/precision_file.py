"""Precision keys of a space file: by name, or by bits, and what bits mean.

A place takes ``precision`` with names, or the shorthand ``weight_bits``, ``activation_bits`` and
``binarize``; the configuration as resolved has the names alone.
"""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nas.problem.validation import Many, Strict, known
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.precision import FP32, PRECISIONS, Precision, get_precision

Binarize = Literal["none", "weights", "both"]
PrecisionName = Annotated[str, known(get_precision)]
BINARY: dict[Binarize, str] = {"weights": "bwn", "both": "xnor"}
SHORTHAND = ("weight_bits", "activation_bits", "binarize")


class PrecisionFile(Strict):
    """A place with weights: its precisions, as names once it is read."""

    weight_bits: Annotated[Many[int], Field(exclude=True)] = ()
    activation_bits: Annotated[Many[int], Field(exclude=True)] = ()
    binarize: Annotated[Many[Binarize], Field(exclude=True)] = ()
    # After the shorthand, whose values its validator sees.
    precision: Annotated[Many[PrecisionName], Field(validate_default=True)] = (FP32.name,)

    @model_validator(mode="before")
    @classmethod
    def refuse_both(cls, data: Any) -> Any:  # noqa: ANN401  (whatever was given)
        given = [key for key in SHORTHAND if isinstance(data, dict) and key in data]
        if given and "precision" in data:
            raise UserError(
                f"precision must not stand beside {' and '.join(given)}, which mean precisions "
                "themselves; keep the one or the other"
            )
        return data

    @field_validator("precision", mode="before")
    @classmethod
    def expand(cls, value: object, info: ValidationInfo) -> object:
        weights, activations, binarize = (info.data.get(key, ()) for key in SHORTHAND)
        if not (weights or activations or binarize):
            return value
        return precisions_of(weights, activations, binarize)


def precisions_of(
    weight_bits: Sequence[int], activation_bits: Sequence[int], binarize: Sequence[Binarize]
) -> tuple[str, ...]:
    """Returns the names of the precisions that the shorthand means, the widest first.

    Of the bits, every combination that exists; a list that is left out allows every value.
    ``binarize`` adds binary weights (``bwn``) and both binary (``xnor``); its ``none`` is what
    the bits say, float32 where they say nothing.

    >>> precisions_of((32, 8, 4), (32, 8), ())
    ('fp32', 'w8a8', 'w4a8')
    >>> precisions_of((8,), (), ("none", "both"))
    ('w8a8', 'xnor')

    Raises:
        UserError: If a value goes with no other, or is known to no precision.
    """
    names = set()
    if weight_bits or activation_bits:
        names = {p.name for p in PRECISIONS.values() if fits(p, weight_bits, activation_bits)}
        found = [PRECISIONS[name] for name in names]
        check_bits("weight_bits", weight_bits, {p.weight_bits for p in found})
        check_bits("activation_bits", activation_bits, {p.activation_bits for p in found})
    elif "none" in binarize:
        names = {FP32.name}
    names |= {BINARY[value] for value in binarize if value in BINARY}
    return tuple(name for name in PRECISIONS if name in names)


def fits(
    precision: Precision, weight_bits: Collection[int], activation_bits: Collection[int]
) -> bool:
    """Whether bits mean this precision; the map K of xnor_k is no matter of bits."""
    return (
        not precision.magnitude_map
        and (not weight_bits or precision.weight_bits in weight_bits)
        and (not activation_bits or precision.activation_bits in activation_bits)
    )


def check_bits(key: str, values: Sequence[int], used: Collection[int]) -> None:
    unused = [value for value in values if value not in used]
    if unused:
        pairs = ", ".join(
            f"{p.weight_bits} and {p.activation_bits}"
            for p in PRECISIONS.values()
            if not p.magnitude_map
        )
        raise UserError(
            f"{key} {unused[0]} makes no precision with the other bits given; weight_bits and "
            f"activation_bits that go together are {pairs}"
        )
