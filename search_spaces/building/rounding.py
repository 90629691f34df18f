"""Rounding of channel counts, as the published mobile networks do it.

Source: ``_make_divisible`` of the authors' MobileNet code,
https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet/mobilenet.py.
"""


def make_divisible(channels: float, divisor: int) -> int:
    """Returns the multiple of ``divisor`` nearest to ``channels``, never below 90 % of it.

    >>> make_divisible(32 * 0.75, 8), make_divisible(11, 8), make_divisible(1, 8)
    (24, 16, 8)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
