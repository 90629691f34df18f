"""Memory plans: what lives together never overlaps, and what does not shares memory."""

from hypothesis import given
from hypothesis import strategies as st

from latency_models.compiler.memory import ALIGNMENT, Lifetime, aligned, plan_memory

LIFETIMES = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(1, 500),
    st.integers(0, 20),
    st.integers(0, 6),
)


@given(st.lists(LIFETIMES, max_size=30))
def test_no_two_live_buffers_overlap(buffers: list[Lifetime]) -> None:
    plan = plan_memory(buffers)

    for i, (a, start) in enumerate(zip(buffers, plan.offsets, strict=True)):
        assert start % ALIGNMENT == 0
        assert 0 <= start <= start + a.size <= plan.size
        for b, other in list(zip(buffers, plan.offsets, strict=True))[:i]:
            alive_together = a.first_step <= b.last_step and b.first_step <= a.last_step
            apart = start + a.size <= other or other + b.size <= start
            assert apart or not alive_together


@given(st.lists(LIFETIMES, min_size=1, max_size=30))
def test_the_workspace_is_no_larger_than_all_buffers_and_no_smaller_than_the_busiest_step(
    buffers: list[Lifetime],
) -> None:
    size = plan_memory(buffers).size

    busiest = max(
        sum(b.size for b in buffers if b.first_step <= step <= b.last_step) for step in range(27)
    )
    assert busiest <= size <= sum(aligned(b.size) for b in buffers)


def test_a_chain_needs_two_maps_at_a_time() -> None:
    chain = [Lifetime(100, step, step + 1) for step in range(10)]

    assert plan_memory(chain).size == 2 * aligned(100)
