"""Classifies images with an exported network.

    python predict.py photo.png ...
    python predict.py --runtime tvm photo.png ...
    python predict.py --runtime onnx inputs.npy --logits logits.npy

The last form takes inputs as the network does, (N, C, H, W) float32, and writes its outputs.
Take from it what you need: one `load_...` function, `read_image` and
`picture.py`, by which the training images were read, are the whole of it.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
Predict = Callable[[Any], Any]  # (N, C, H, W) float32 -> (N, classes) float32


def load_onnx() -> Predict:
    """Needs onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(HERE / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"input": x})[0]


def load_tvm() -> Predict:
    """Needs apache-tvm; the file takes one image at a time."""
    import tvm

    library = tvm.runtime.load_module(str(HERE / "model.so"))
    run = tvm.relax.VirtualMachine(library, tvm.cpu())["main"]
    return lambda x: np.concatenate([run(tvm.runtime.tensor(image[None])).numpy() for image in x])


def load_torch() -> Predict:
    """Needs hwnas and torch."""
    import torch
    from safetensors.numpy import load_file

    from nas.nn.interpreter import from_model
    from search_spaces.graphs.model import Model
    from search_spaces.space.architecture import load_architecture

    graph = load_architecture(HERE / "architecture.json").graph
    network = from_model(Model(graph, load_file(HERE / "model.safetensors")))

    def predict(x: Any) -> Any:  # noqa: ANN401  (arrays)
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return predict


RUNTIMES: dict[str, tuple[str, Callable[[], Predict]]] = {
    "onnx": ("model.onnx", load_onnx),
    "tvm": ("model.so", load_tvm),
    "torch": ("model.safetensors", load_torch),
}


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


def main() -> None:
    metadata = json.loads((HERE / "metadata.json").read_text())
    here = [name for name, (file, _) in RUNTIMES.items() if (HERE / file).exists()]
    parser = argparse.ArgumentParser(description="Classifies images.")
    parser.add_argument("inputs", nargs="+", help="image files, or one .npy of network inputs")
    parser.add_argument("--runtime", choices=here, default=here[0])
    parser.add_argument("--logits", help="write the outputs for a .npy of inputs to this .npy")
    arguments = parser.parse_args()
    predict = RUNTIMES[arguments.runtime][1]()
    if arguments.logits:
        x = np.load(arguments.inputs[0])
        batches = [predict(x[start : start + 64]) for start in range(0, len(x), 64)]
        np.save(arguments.logits, np.concatenate(batches))
        return
    for path in arguments.inputs:
        logits = predict(read_image(path, metadata["input"])[None])[0]
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = int(shares.argmax())
        print(f"{path}: {metadata['class_names'][best]} ({100 * shares[best]:.1f} %)")


if __name__ == "__main__":
    main()
