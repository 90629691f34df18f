"""Smooth activations: the few operations on float32 numbers by which they are computed.

They are written down once. Kernels, deployed torch layers and numpy take these very steps, each of
which rounds by itself, so that codes of what they give are the same on every machine; those of the
exponentials of libraries are not. All are instructions of whole vectors.

Errors: below 1.5 units in the last place for exp(-x), below 4e-7 for activations of numbers from
-8 to 8. Where exp(-x) is below 2 ** -126 it is zero. NaN stays NaN, infinities give the limits.

*Source:* exponentials, Cody and Waite, "Software Manual for the Elementary Functions",
Prentice-Hall 1980, chapter 6; GELU, Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415, with
the normal distribution as a power of a polynomial, Abramowitz and Stegun, "Handbook of
Mathematical Functions", 1964, formula 7.1.28.

*Differs from the sources:* polynomials are minimax fits of our own, and the power is the eighth.
"""

from collections.abc import Callable, Sequence
from math import log, pi
from typing import Any, Protocol

Numbers = Any  # float32 numbers of some library, which have +, -, * and /


class Arithmetic(Protocol):
    """What a library offers beside the operators of its numbers."""

    def number(self, value: float) -> Numbers:
        """Returns a constant."""
        ...

    def rounded(self, x: Numbers) -> Numbers:
        """Returns ``x`` as numbers of its own: a product that no sum is joined with."""
        ...

    def larger(self, least: Numbers, x: Numbers) -> Numbers:
        """Returns ``x`` or a constant, whichever is larger; NaN of NaN."""
        ...

    def smaller(self, most: Numbers, x: Numbers) -> Numbers:
        """Returns ``x`` or a constant, whichever is smaller; NaN of NaN."""
        ...

    def magnitude(self, x: Numbers) -> Numbers:
        """Returns absolute values."""
        ...

    def by_sign(self, x: Numbers, positive: Numbers, negative: Numbers) -> Numbers:
        """Returns ``positive`` where x >= 0 and ``negative`` elsewhere."""
        ...

    def power_of_two(self, x: Numbers) -> Numbers:
        """Returns the numbers whose exponents are the lowest bits of ``x``."""
        ...


Steps = Callable[[Arithmetic, Numbers], Numbers]
# A sum with it has the number, rounded to a whole one, in its lowest bits: plus the exponent of 1.
ROUNDER = 1.5 * 2**23 + 127
PER_LOG_2 = 1 / log(2)
LOG_2_HIGH = 0.693359375  # of 10 bits: its products with whole numbers are exact
LOG_2_LOW = log(2) - LOG_2_HIGH
FARTHEST = 88.0  # the exponential of minus this is zero, as is that of all beyond
EXPONENTIAL = (0.499999934, -0.166665205, 0.0416683901, -0.00836873541, 0.00138145484)
# The normal distribution's tail beyond x is 1 / 2 over the eighth power of 1 + x * these.
TAIL = (
    *(0.099732497, 0.0447887885, 0.00859166875, 0.000980609464),
    *(0.000111391873, 9.75647219e-05, -1.67433905e-05, 2.93215803e-06),
)
FARTHEST_TAIL = 64.0  # where that power is infinite
TANH_SLOPE = (8 / pi) ** 0.5
TANH_CUBIC = TANH_SLOPE * 0.044715


def exponential(a: Arithmetic, x: Numbers) -> Numbers:
    """Returns e ** -x for x from 0 to ``FARTHEST``."""
    exponent = a.rounded(a.rounded(x * a.number(-PER_LOG_2)) + a.number(ROUNDER))
    whole = a.rounded(exponent - a.number(ROUNDER))
    high = a.rounded(x + a.rounded(whole * a.number(LOG_2_HIGH)))
    rest = a.rounded(high + a.rounded(whole * a.number(LOG_2_LOW)))
    curve = a.rounded(a.rounded(rest * rest) * polynomial(a, rest, EXPONENTIAL))
    # A product, not a sum of exponents: NaN stays NaN.
    return a.rounded((curve - rest + a.number(1)) * a.power_of_two(exponent))


def polynomial(a: Arithmetic, x: Numbers, coefficients: Sequence[float]) -> Numbers:
    """Returns the sum of coefficients times powers of ``x``, that of x ** 0 first."""
    *others, total = map(a.number, coefficients)
    for coefficient in reversed(others):
        total = a.rounded(total * x) + coefficient
    return total


def sigmoid(a: Arithmetic, x: Numbers) -> Numbers:
    """Returns 1 / (1 + e ** -x)."""
    return gated(a, a.number(1), x)


def silu(a: Arithmetic, x: Numbers) -> Numbers:
    """Returns x * sigmoid(x)."""
    x = a.rounded(a.larger(a.number(-FARTHEST), x))  # below, it is zero
    return gated(a, x, x)


def gelu_tanh(a: Arithmetic, x: Numbers) -> Numbers:
    """Returns x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)))."""
    x = a.rounded(a.larger(a.number(-FARTHEST), x))
    slope = a.rounded(a.rounded(x * x) * a.number(TANH_CUBIC)) + a.number(TANH_SLOPE)
    return gated(a, x, a.rounded(x * slope))


def gated(a: Arithmetic, x: Numbers, by: Numbers) -> Numbers:
    """Returns x * sigmoid(by), by one quotient: powers of e are never above 1."""
    falling = exponential(a, a.rounded(a.smaller(a.number(FARTHEST), a.magnitude(by))))
    whole = a.by_sign(by, x, a.rounded(x * falling))
    return a.rounded(whole / (a.number(1) + falling))


def gelu(a: Arithmetic, x: Numbers) -> Numbers:
    """Returns x times the share of a normal distribution that lies below it."""
    far = a.rounded(a.smaller(a.number(FARTHEST_TAIL), a.magnitude(x)))
    power = a.rounded(polynomial(a, far, (1.0, *TAIL)))
    for _ in range(3):
        power = a.rounded(power * power)
    return a.larger(a.number(0), x) - a.rounded(far * a.number(0.5)) / power
