"""Half precision is what the processor computes in; what it would emulate is refused."""

import pytest
import torch

from nas.nn.half import half_type
from search_spaces.graphs.errors import UserError

CPU = torch.device("cpu")


def test_a_cpu_takes_bfloat16_where_it_is_asked_for_and_native() -> None:
    assert half_type(CPU, "auto", {"avx512_bf16"}) is None
    assert half_type(CPU, "off", {"avx512_bf16"}) is None
    for flag in ("avx512_bf16", "amx_bf16", "bf16"):
        assert half_type(CPU, "bfloat16", {"avx2", flag}) is torch.bfloat16


def test_what_a_cpu_would_emulate_is_one_line_with_a_remedy() -> None:
    with pytest.raises(UserError, match=r"bfloat16 needs .*; set it to auto or off") as caught:
        half_type(CPU, "bfloat16", {"avx2", "avx512f"})

    assert "\n" not in str(caught.value)
