"""Messages come out as they went in."""

from io import BytesIO

import numpy as np

from latency_models.measurement.messages import Message, pack, unpack


def test_a_message_survives_the_pipe() -> None:
    arrays = {
        "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        "scalar": np.array(3, np.float32),
        "empty": np.zeros((0, 5), np.float32),
    }
    pipe = BytesIO(b"".join(pack(Message({"do": "run", "runs": [1, 2]}, arrays))))

    back = unpack(pipe.read)

    assert back.data == {"do": "run", "runs": [1, 2]}
    assert list(back.arrays) == list(arrays)
    for name, array in arrays.items():
        assert back.arrays[name].shape == array.shape
        assert np.array_equal(back.arrays[name], array)


def test_messages_follow_each_other() -> None:
    frames = [part for number in range(3) for part in pack(Message({"number": number}))]
    pipe = BytesIO(b"".join(frames))

    assert [unpack(pipe.read).data["number"] for _ in range(3)] == [0, 1, 2]
