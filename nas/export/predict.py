"""Classifies images with an exported network.

    python predict.py photo.png ...
    python predict.py --runtime tvm photo.png ...
    python predict.py --runtime onnx inputs.npy --logits logits.npy

The last form takes inputs as the network does, (N, C, H, W) float32, and writes its outputs.
Take from it what you need: one `load_...` function, `read_image` and `picture.py`, by which the
training images were read, are the whole of it. What a `load_...` gives computes in one thread, and
may be called from several: that of TVM lets them in one by one, so that threads that must not wait
load one each.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np

# Read where a runtime is imported, which the functions below do.
os.environ |= {"OMP_NUM_THREADS": "1", "TVM_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
HERE = Path(__file__).resolve().parent
ARCHITECTURES = {62: "x86_64", 183: "aarch64"}  # in the header of a library, and of systems
OURS = ("nas", "search_spaces", "latency_models")  # the packages that hwnas installs
Predict = Callable[[Any], Any]  # (N, C, H, W) float32 -> (N, classes) float32


def load_onnx() -> Predict:
    """Needs onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    size = session.get_inputs()[0].shape[0]  # a number where the file has a fixed batch

    def run(x: Any) -> Any:  # noqa: ANN401  (arrays)
        return session.run(None, {"input": x})[0]

    def run_in_batches(x: Any) -> Any:  # noqa: ANN401
        filled = np.concatenate([x, np.zeros((-len(x) % size, *x.shape[1:]), x.dtype)])
        parts = [run(filled[start : start + size]) for start in range(0, len(x), size)]
        return np.concatenate(parts)[: len(x)]

    return run_in_batches if isinstance(size, int) else run


def load_tvm() -> Predict:
    """Needs apache-tvm; the file takes one image at a time."""
    check_architecture(HERE / "model.so")
    import tvm

    told = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures", allow_missing=True)
    has = {str(name): bool(there) for name, there in told().items()} if told else {}
    missing = [name for name in metadata()["processor"]["features"] if not has.get(name, True)]
    if missing:
        stop(
            f"model.so needs {', '.join(missing)}, which this processor does not have; run it on "
            "one like that it was compiled for, or take --runtime onnx"
        )
    library = tvm.runtime.load_module(str(HERE / "model.so"))
    run, turn = tvm.relax.VirtualMachine(library, tvm.cpu())["main"], Lock()

    def predict(x: Any) -> Any:  # noqa: ANN401
        with turn:
            return np.concatenate([run(tvm.runtime.tensor(image[None])).numpy() for image in x])

    return predict


def load_torch() -> Predict:
    """Needs hwnas and torch."""
    import torch
    from safetensors.numpy import load_file

    from nas.nn.interpreter import from_model
    from search_spaces.quantization.storage import restored
    from search_spaces.space.architecture import load_architecture

    torch.set_num_threads(1)
    graph = load_architecture(HERE / "architecture.json").graph
    network = from_model(restored(graph, load_file(HERE / "model.safetensors")))

    def predict(x: Any) -> Any:  # noqa: ANN401  (arrays)
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return predict


def load_archive() -> Predict:
    """Needs hwnas and torch; the same network as that of `load_torch`, its norms as trained."""
    import torch

    from nas.models.archives.archive import read_archive
    from nas.nn.interpreter import from_model

    torch.set_num_threads(1)
    network = from_model(read_archive(HERE / "model.hwz").model)

    def predict(x: Any) -> Any:  # noqa: ANN401  (arrays)
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return predict


RUNTIMES: dict[str, tuple[tuple[str, ...], Callable[[], Predict]]] = {
    "onnx": (("model.onnx",), load_onnx),
    "tvm": (("model.so",), load_tvm),
    "torch": (("model.safetensors", "architecture.json"), load_torch),
    "archive": (("model.hwz",), load_archive),
}


def load(runtime: str) -> Predict:
    """Returns what runs the network, once its files are known to be whole."""
    files, loader = RUNTIMES[runtime]
    for name in files:
        if sha256((HERE / name).read_bytes()).hexdigest() != metadata()["files"].get(name):
            stop(f"{name} is not the file that was exported (by its SHA-256); copy it again")
    try:
        return loader()
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        name = "hwnas" if package in OURS else package
        stop(f"{runtime} needs {name}, which is not installed; README.md says how")


def metadata() -> dict[str, Any]:
    """Returns what metadata.json tells about the network."""
    data: dict[str, Any] = json.loads((HERE / "metadata.json").read_text("utf-8"))
    return data


def check_architecture(library: Path) -> None:
    made_for = ARCHITECTURES.get(int.from_bytes(library.read_bytes()[18:20], "little"), "others")
    if made_for != platform.machine():
        stop(f"{library.name} is for {made_for} processors, this one is {platform.machine()}")


def stop(why: str) -> NoReturn:
    sys.exit(f"error: {why}")


def in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def read_image(path: str, given: dict[str, Any]) -> Any:  # noqa: ANN401  (an array)
    """Returns an image as the network takes it, (C, H, W); ``given`` is metadata's "input"."""
    from picture import read_picture  # type: ignore[import-not-found]  # beside this file
    from PIL import Image

    channels, height, width = given["image_shape"]
    how = given["fit"], given["background"]
    pixels = read_picture(Path(path), channels, (height, width), *how).astype(np.float32)
    size = (given["shape"][2], given["shape"][1])
    if size != (width, height):
        planes = [Image.fromarray(pixels[..., channel]) for channel in range(channels)]
        resized = [np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes]
        pixels = np.stack(resized, axis=-1)
    normalised = (pixels / 255 - np.array(given["mean"])) / np.array(given["std"])
    return normalised.transpose(2, 0, 1).astype(np.float32)


def classify(predict: Predict, path: str) -> str:
    """Returns the class of an image, and how sure the network is of it."""
    if not Path(path).is_file():
        stop(f"{path} is {'a folder' if Path(path).is_dir() else 'not there'}; give image files")
    given = metadata()["input"]
    if given["mean"] is None:
        stop(
            "metadata.json says no mean and std, so how a picture becomes an input is not known; "
            "write them into it, or give inputs as the network takes them with --logits"
        )
    try:
        image = read_image(path, given)
    except Exception as error:  # what Pillow raises depends on how a file is broken
        stop(f"{path} is no image that can be read ({in_a_line(error)})")
    logits = predict(image[None])[0]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best, names = int(shares.argmax()), metadata()["class_names"]
    name = f"class {best}" if names is None else names[best]
    return f"{name} ({100 * shares[best]:.1f} %)"


def write_logits(predict: Predict, inputs: str, to: str) -> None:
    """Writes the network's outputs for the inputs in a ``.npy`` file to another."""
    try:
        x = np.load(inputs)
    except (OSError, ValueError, EOFError) as error:
        stop(f"{inputs} is no .npy file of inputs ({in_a_line(error)})")
    shape = tuple(metadata()["input"]["shape"])
    if x.shape[1:] != shape or x.dtype != np.float32 or not len(x):
        stop(f"{inputs} must hold float32 of shape (N, {shape}), got {x.dtype} of {x.shape}")
    batches = [predict(x[start : start + 64]) for start in range(0, len(x), 64)]
    np.save(to, np.concatenate(batches))


def main() -> None:
    here = [name for name, (files, _) in RUNTIMES.items() if (HERE / files[0]).exists()]
    if not here:
        stop(f"{HERE} holds no exported network; copy the whole folder")
    parser = argparse.ArgumentParser(description="Classifies images.")
    parser.add_argument("inputs", nargs="+", help="image files, or one .npy of network inputs")
    parser.add_argument("--runtime", choices=here, default=here[0])
    parser.add_argument("--logits", help="write the outputs for a .npy of inputs to this .npy")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # any locale
    try:
        predict = load(arguments.runtime)
        if arguments.logits:
            write_logits(predict, arguments.inputs[0], arguments.logits)
            return
        for path in arguments.inputs:
            print(f"{path}: {classify(predict, path)}")
    except Exception as error:  # one line also for what nobody thought of
        stop(f"{HERE.name} cannot be run ({in_a_line(error)})")


if __name__ == "__main__":
    main()
