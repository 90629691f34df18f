"""What CPU a device elsewhere has, asked in a process of its own: an answer may never come."""

import json
import subprocess
import sys
from dataclasses import asdict

from latency_models.devices.device import Device
from latency_models.devices.latency import MeasurementError
from latency_models.devices.lazy import leave_torch_out
from search_spaces.graphs.errors import UserError

LIMIT_S = 60.0  # most of it to import TVM
UNKNOWN = "unknown"


def detect(
    name: str, *, rpc: str = "", tracker: str = "", key: str = "", limit_s: float = LIMIT_S
) -> tuple[str, str]:
    """Returns LLVM's names of the CPU and, where it is not this machine's, of the platform.

    Args:
        limit_s: After so long there is no answer.

    Raises:
        UserError: If the device cannot be reached, or does not tell.
    """
    device = Device(name, "", UNKNOWN, rpc=rpc, tracker=tracker, key=key)
    command = [
        sys.executable,
        "-P",
        "-m",
        "latency_models.boards.remote_cpu",
        json.dumps(asdict(device)),
    ]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s
        )
        answer = json.loads(result.stdout)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{name} ({device.where}) does not answer for {limit_s:g} s; look whether its server "
            "hangs or serves somebody else"
        ) from None
    except ValueError:
        raise UserError(
            f"{name} ({device.where}) sends what no server of TVM does; check the address"
        ) from None
    if "error" in answer:
        raise UserError(answer["error"])
    mcpu, triple = answer["mcpu"], answer["triple"]
    if not mcpu:
        raise UserError(
            f"{name} ({device.where}) does not tell its CPU; name it: --target CPU@PLATFORM"
        )
    return mcpu, triple


def main() -> None:
    """Prints the answer as JSON."""
    leave_torch_out()
    from latency_models.boards.remote import open_board
    from latency_models.devices.cpu import host_cpu

    try:
        board = open_board(Device(**json.loads(sys.argv[1])), LIMIT_S)
    except MeasurementError as error:
        print(json.dumps({"error": str(error)}))
        return
    architecture = board.triple.partition("-")[0]
    own = architecture == host_cpu().architecture
    # Its own name may be that of the compiler that made TVM; linkers go by the usual one.
    triple = "" if own or not architecture else f"{architecture}-linux-gnu"
    print(json.dumps({"mcpu": board.mcpu, "triple": triple}))


if __name__ == "__main__":
    main()
