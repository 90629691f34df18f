"""Machine code: turns kernels and a list of calls to them into compiled TVM modules.

Kernels are private functions of raw pointers; one entry function calls them one after another on
offsets of four memories (input, weights, workspace, output), in bytes. So the cost of a call is
that of a C call, and argument checks happen once per network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import ir, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import transform
from tvm.tirx.compilation_pipeline import register_tir_pipeline

from latency_models.codegen.emitter import KERNEL_ATTRIBUTE, WHOLE_MEMORY, T
from latency_models.compiler.memory import ELEMENTS, MEMORIES, Address, Memory

PIPELINE = "hwnas_kernels"


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel called on its arguments, then on plain numbers."""

    function: str
    arguments: tuple[Address, ...]
    numbers: tuple[int, ...] = ()


def entry_function(
    name: str,
    calls: Sequence[Call],
    functions: Mapping[str, ir.GlobalVar],
    shapes: Mapping[Memory, tuple[int, ...]],
) -> Any:  # noqa: ANN401  tvm is untyped
    """Returns the function ``name(input, weights, workspace, output)`` that makes ``calls``."""
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            tensors = [
                T.arg(memory, T.buffer(shapes[memory], ELEMENTS[memory][0])) for memory in MEMORIES
            ]
            T.func_attr({"global_symbol": name})
            flat = {
                memory: T.decl_buffer((WHOLE_MEMORY,), ELEMENTS[memory][0], data=tensor.data)
                for memory, tensor in zip(MEMORIES, tensors, strict=True)
            }
            for call in calls:
                arguments = [
                    T.address_of(flat[a.memory][a.offset // ELEMENTS[a.memory][1]])
                    for a in call.arguments
                ]
                arguments += [T.int32(number) for number in call.numbers]
                T.evaluate(ir.Call(functions[call.function], arguments, ret_ty="int32"))
        return builder.get()


def kernel_module(
    kernels: Mapping[str, Any],
    entries: Mapping[str, Sequence[Call]],
    shapes: Mapping[Memory, tuple[int, ...]],
) -> tvm.IRModule:
    """Returns a module with every kernel, and an entry function for each list of calls."""
    names = {name: ir.GlobalVar(name) for name in kernels}
    functions = {names[name]: function for name, function in kernels.items()}
    for name, calls in entries.items():
        functions[ir.GlobalVar(name)] = entry_function(name, calls, names, shapes)
    return tvm.IRModule(functions)


def compile_kernels(module: tvm.IRModule, target: tvm.target.Target) -> Any:  # noqa: ANN401
    """Returns the compiled module; its entry functions take the four memories as tensors."""
    return tvm.tirx.build(module, target=target, pipeline=PIPELINE)


def lower(module: tvm.IRModule, _context: object) -> tvm.IRModule:
    # Kernels are flat, vectorised and simple as written: the passes for everything else are
    # left out, which saves a third of the compile time.
    functions = {
        name: function.without_attr("global_symbol") if is_kernel(function) else function
        for name, function in module.functions.items()
    }
    passes = (
        transform.AnnotateEntryFunc(),
        transform.SplitHostDevice(),
        transform.MakePackedAPI(),
    )
    return ir.transform.Sequential(passes)(tvm.IRModule(functions, attrs=module.attrs))


def finalize(module: tvm.IRModule, _context: object) -> tvm.IRModule:
    # Lowering builtins would move a kernel's accumulators to the heap, so only the rest gets it.
    kernels = {name: f for name, f in module.functions.items() if is_kernel(f)}
    rest = {name: f for name, f in module.functions.items() if name not in kernels}
    lowered = transform.LowerTVMBuiltin()(tvm.IRModule(rest, attrs=module.attrs))
    lowered.update(tvm.IRModule(kernels))
    return transform.LowerIntrin()(lowered)


def is_kernel(function: Any) -> bool:  # noqa: ANN401
    return function.attrs is not None and KERNEL_ATTRIBUTE in function.attrs


def pass_of(rewrite: Any) -> Any:  # noqa: ANN401
    return tvm.transform.module_pass(rewrite, opt_level=0)


register_tir_pipeline(
    PIPELINE,
    lambda: (pass_of(lower), lambda: pass_of(finalize), tirx.transform.LowerIntrin),
)
