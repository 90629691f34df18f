"""Code across the lanes of a vector, and powers: what norms over channels are made of."""

from collections.abc import Sequence

from latency_models.codegen.activations import VectorArithmetic
from latency_models.codegen.emitter import Expr, T, Vectors, tirx
from search_spaces.graphs import smooth

LARGEST = 3.4e38
LOG_2 = 1 / smooth.PER_LOG_2
# log(1 + t) is t times the polynomial of these, for t from 0 to 1 within 4e-8: a minimax fit.
LOGARITHM = (
    *(0.999996423, -0.499874029, 0.331798147, -0.240730406),
    *(0.167647239, -0.0953218928, 0.0360842208, -0.00645255308),
)
FRACTION, EXPONENT_OF_1, EXPONENT_OF_WHOLE = 0x007FFFFF, 0x3F800000, 0x4B000000


def first_lanes(v: Vectors, x: Expr, count: int) -> Expr:
    """Returns ``x`` with zeros after its first ``count`` lanes."""
    lanes = T.ramp(T.int32(0), 1, v.lanes)
    return T.Select(lanes < T.broadcast(T.int32(count), v.lanes), x, v.constant(0))


def taken_lanes(v: Vectors, x: Expr, lanes: Sequence[int | None]) -> Expr:
    """Returns the given lanes of ``x``, zeros where there is None."""
    places = [v.lanes if lane is None else lane for lane in lanes]
    return T.bind(tirx.Shuffle([x, v.constant(0)], places))


def lane_sum(v: Vectors, x: Expr) -> Expr:
    """Returns the sum of all lanes, in every lane."""
    total, step = T.bind(x), v.lanes // 2
    while step:
        turned = tirx.Shuffle([total], [(lane + step) % v.lanes for lane in range(v.lanes)])
        total, step = T.bind(total + T.bind(turned)), step // 2
    return total


def square_root(v: Vectors, x: Expr) -> Expr:
    return v.intrinsic("llvm.sqrt", f"float32x{v.lanes}", x)


def inverse_power(v: Vectors, x: Expr, exponent: float) -> Expr:
    """Returns x ** -exponent of positive numbers, within 1e-6 of itself for x from 1e-3 to 1e6."""
    a = VectorArithmetic(v)
    product = a.rounded(logarithm(a, x) * a.number(exponent))
    low = a.larger(a.number(-smooth.FARTHEST + 1), product)
    return smooth.exponential(a, a.rounded(a.smaller(a.number(smooth.FARTHEST), low)))


def logarithm(a: VectorArithmetic, x: Expr) -> Expr:
    """Returns the natural logarithm of positive numbers."""
    bits = T.bind(T.reinterpret(a.words, a.rounded(a.smaller(a.number(LARGEST), x))))
    # The exponent, as the lowest bits of a number whose last place is worth one.
    shifted = T.shift_right(bits, a.word(23))
    whole = T.reinterpret(a.reals, T.bitwise_or(shifted, a.word(EXPONENT_OF_WHOLE)))
    exponent = a.rounded(whole - a.number(2.0**23 + 127))
    fraction = T.bitwise_or(T.bitwise_and(bits, a.word(FRACTION)), a.word(EXPONENT_OF_1))
    t = a.rounded(T.reinterpret(a.reals, fraction) - a.number(1))
    return a.rounded(exponent * a.number(LOG_2)) + a.rounded(
        t * smooth.polynomial(a, t, LOGARITHM)
    )
