"""The node that a user would write in an afternoon: `python -m benchmarks.afternoon_node MODEL`.

rclpy with one callback, cv_bridge's arithmetic, and PyTorch eager in fp32 with the library's own threads. Network and input
size are the model file's, the weights are drawn at random: a model file holds none that PyTorch could load, and time does not
depend on them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import rclpy
import torch
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from benchmarks.inference import network_of
from lwseg_ros.model.model_file import ModelFile, load_model
from lwseg_ros.replay.live.protocol import Commands

IMAGE_TOPIC, LABEL_TOPIC = "/image/compressed", "/label"


class AfternoonNode(Node):
    """Segment each image as it comes; publish the label."""

    def __init__(self, model: ModelFile) -> None:
        """Build the network, and subscribe."""
        super().__init__("afternoon")
        manifest = model.manifest
        self.network = network_of(model)
        self.mean = torch.tensor(manifest.mean_rgb)[:, None, None]
        self.std = torch.tensor(manifest.std_rgb)[:, None, None]
        self.height, self.width = manifest.input_size_hw
        self.publisher = self.create_publisher(Image, LABEL_TOPIC, 10)
        self.create_subscription(CompressedImage, IMAGE_TOPIC, self.on_image, qos_profile_sensor_data)

    @torch.no_grad()
    def on_image(self, message: CompressedImage) -> None:
        """Decode, resize, normalise, run, take the most probable class, resize back, publish."""
        # cv_bridge's compressed_imgmsg_to_cv2
        image = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_ANYCOLOR)
        resized = cv2.cvtColor(cv2.resize(image, (self.width, self.height)), cv2.COLOR_BGR2RGB)
        tensor = (torch.from_numpy(resized).permute(2, 0, 1).float() / 255 - self.mean) / self.std
        probabilities = self.network(tensor[None]).softmax(dim=1)
        label = probabilities.argmax(dim=1)[0].to(torch.uint8).numpy()
        label = cv2.resize(label, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
        # cv_bridge's cv2_to_imgmsg
        answer = Image(header=message.header, height=label.shape[0], width=label.shape[1], encoding="mono8")
        answer.step = label.shape[1]
        answer.data.frombytes(label.tobytes())
        self.publisher.publish(answer)


def main() -> int:
    """Run the node until standard input ends."""
    model = load_model(Path(sys.argv[1]))
    rclpy.init(args=[])
    executor = SingleThreadedExecutor()
    node = AfternoonNode(model)
    executor.add_node(node)
    commands = Commands(on_end=executor.wake)
    try:
        while not commands.ended:
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
