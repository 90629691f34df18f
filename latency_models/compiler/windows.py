"""Windows: convolutions without the rows and columns of weights that only ever meet zeros.

The window of 3 x 3 on a map of one pixel meets one number; networks made for larger images, or
scaled down, are full of such layers.
"""

from dataclasses import replace

from search_spaces.graphs.operators import Conv2d, Size


def inner_window(operator: Conv2d, sizes: Size, counts: Size) -> tuple[Conv2d, Size]:
    """Returns the convolution with the taps that some window has inside the map, and the first.

    Args:
        sizes: Rows and columns of the map that is read.
        counts: Rows and columns of the result.
    """
    kernel, pads, ends, first = [], [], [], []
    for axis in (0, 1):
        step, apart, pad = operator.stride[axis], operator.dilation[axis], operator.pads[axis]
        taps = range(operator.kernel_size[axis])
        inside = []
        for tap in taps:
            first_inside = max(0, -((tap * apart - pad) // step))  # window whose tap is not before
            place = first_inside * step - pad + tap * apart
            if first_inside < counts[axis] and place < sizes[axis]:
                inside.append(tap)
        inside = inside or list(taps)
        # What is cut must be padding, of which there may be less than a dilated step.
        before = min(inside[0], pad // apart)
        after = min(taps[-1] - inside[-1], operator.end_pads[axis] // apart)
        kernel.append(len(taps) - before - after)
        pads.append(pad - before * apart)
        ends.append(operator.end_pads[axis] - after * apart)
        first.append(before)
    if (*kernel,) == operator.kernel_size:
        return operator, (0, 0)
    inner = replace(
        operator,
        kernel_size=(kernel[0], kernel[1]),
        padding=(pads[0], pads[1]),
        end_padding=(ends[0], ends[1]),
    )
    return inner, (first[0], first[1])
