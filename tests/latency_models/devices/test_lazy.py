"""What is imported late, or not at all."""

import subprocess
import sys


def test_a_process_that_leaves_torch_out_has_all_of_tvm_that_compiling_takes() -> None:
    code = (
        "import sys; from latency_models.devices.lazy import leave_torch_out; leave_torch_out()\n"
        "from latency_models.compiler.library import compile_model\n"
        "print(sorted(name for name, module in sys.modules.items()\n"
        "      if name.partition('.')[0] == 'torch' and module is not None))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
