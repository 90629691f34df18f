"""Activations as vector code: each operation rounds by itself."""

from collections.abc import Callable, Mapping

from latency_models.codegen.emitter import Expr, T, Vectors
from search_spaces.graphs import smooth
from search_spaces.graphs.activations import LEAKS, Activation
from search_spaces.graphs.errors import UnsupportedOperatorError

MAGNITUDE = 0x7FFFFFFF  # every bit but the sign
EXPONENT_PLACE = 23  # of its lowest bit


def activated(v: Vectors, name: Activation, x: Expr) -> Expr:
    """Returns what an activation makes of a vector."""
    if name not in EMITTED_ACTIVATIONS:
        raise UnsupportedOperatorError(f"TVM has no code for activation {name!r}")
    return EMITTED_ACTIVATIONS[name](v, x)


class VectorArithmetic:
    """``smooth.Arithmetic`` of vectors.

    LLVM's comparison of two numbers, of which one is NaN, is false; hence the order of operands.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.v = vectors
        self.words, self.reals = f"uint32x{vectors.lanes}", f"float32x{vectors.lanes}"

    def number(self, value: float) -> Expr:
        return self.v.constant(value)

    def rounded(self, x: Expr) -> Expr:
        """As ``Vectors.rounded``, read from a register of its own.

        TVM's analysis looks through bound names, so that what is used twice at each of many steps
        would be looked at 2 ** steps times; it does not look into registers.
        """
        register = self.v.register()
        self.v.put(register, self.v.rounded(x))
        return self.v.get(register)

    def larger(self, least: Expr, x: Expr) -> Expr:
        return T.max(least, x)

    def smaller(self, most: Expr, x: Expr) -> Expr:
        return T.min(most, x)

    def magnitude(self, x: Expr) -> Expr:
        bits = T.bitwise_and(T.reinterpret(self.words, x), self.word(MAGNITUDE))
        return T.reinterpret(self.reals, bits)

    def by_sign(self, x: Expr, positive: Expr, negative: Expr) -> Expr:
        return T.Select(x >= self.v.constant(0), positive, negative)

    def power_of_two(self, x: Expr) -> Expr:
        bits = T.shift_left(T.reinterpret(self.words, x), self.word(EXPONENT_PLACE))
        return T.reinterpret(self.reals, bits)

    def word(self, value: int) -> Expr:
        return T.broadcast(T.uint32(value), self.v.lanes)


def clip(v: Vectors, x: Expr, high: float) -> Expr:
    return T.min(T.max(x, v.constant(0)), v.constant(high))


def gate(v: Vectors, x: Expr) -> Expr:
    """What hardsigmoid gives, and hardswish multiplies by."""
    return clip(v, v.rounded(x * v.constant(1 / 6)) + v.constant(0.5), 1)


def taken(steps: smooth.Steps) -> Callable[[Vectors, Expr], Expr]:
    """Returns the vector code of smooth steps."""

    def code(v: Vectors, x: Expr) -> Expr:
        a = VectorArithmetic(v)
        return steps(a, a.rounded(x))

    return code


def leak(slope: float) -> Callable[[Vectors, Expr], Expr]:
    def code(v: Vectors, x: Expr) -> Expr:
        x = T.bind(x)
        return T.max(v.rounded(x * v.constant(slope)), x)

    return code


EMITTED_ACTIVATIONS: Mapping[Activation, Callable[[Vectors, Expr], Expr]] = {
    "none": lambda v, x: x,
    "relu": lambda v, x: T.max(x, v.constant(0)),
    "relu6": lambda v, x: clip(v, x, 6),
    "hardswish": lambda v, x: v.rounded(x * gate(v, x)),
    "hardsigmoid": gate,
    "sigmoid": taken(smooth.sigmoid),
    "silu": taken(smooth.silu),
    "gelu": taken(smooth.gelu),
    "gelu_tanh": taken(smooth.gelu_tanh),
    **{name: leak(slope) for name, slope in LEAKS.items()},
}
