"""What a network costs on a device: compiled kernels, runtimes, timing, prediction."""

from typing import TYPE_CHECKING

from search_spaces.front_door import front_door

if TYPE_CHECKING:
    from latency_models.compiler.library import compile_model as compile_model
    from latency_models.compiler.library import load_compiled as load_compiled
    from latency_models.devices.device import Device as Device
    from latency_models.devices.device import get_device as get_device
    from latency_models.devices.device import list_devices as list_devices
    from latency_models.devices.latency import Latency as Latency
    from latency_models.measurement.measurer import Measurer as Measurer
    from latency_models.onnx.model import onnx_model as onnx_model
    from latency_models.prediction.model import LatencyModel as LatencyModel
    from latency_models.profiling.profile import profile_device as profile_device
    from latency_models.transfer.model import load_latency_model as load_latency_model

# The front door: each name, and the module that it is imported from when it is first asked for.
HOMES = {
    "Device": "latency_models.devices.device",
    "Latency": "latency_models.devices.latency",
    "LatencyModel": "latency_models.prediction.model",
    "Measurer": "latency_models.measurement.measurer",
    "compile_model": "latency_models.compiler.library",
    "get_device": "latency_models.devices.device",
    "list_devices": "latency_models.devices.device",
    "load_compiled": "latency_models.compiler.library",
    "load_latency_model": "latency_models.transfer.model",
    "onnx_model": "latency_models.onnx.model",
    "profile_device": "latency_models.profiling.profile",
}
__all__ = list(HOMES)
__getattr__, __dir__ = front_door(__name__, HOMES)
