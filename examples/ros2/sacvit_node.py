"""A ROS 2 node that classifies the newest image of a topic. Not run: written from the documentation of ROS 2.

    pip install sacvit-deploy          # into the environment of rclpy
    python sacvit_node.py --ros-args -p bundle:=/path/model.sacvit -r image:=/camera/image_raw

Subscribes to `image` (sensor_msgs/Image), publishes `classification` (vision_msgs/Classification) under the image's own
stamp, so that a subscriber can match the two.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import rclpy
from cv_bridge import CvBridge
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, ObjectHypothesis

from sacvit_deploy import Prediction, SACViT


class Classifier(Node):
    """Answers in a thread of its own; the executor's thread only takes messages."""

    def __init__(self) -> None:
        super().__init__("sacvit")
        self._model = SACViT(self.declare_parameter("bundle", "model.sacvit").value)
        self._eta = self.declare_parameter("eta", self._model.eta).value
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()  # short: the stream takes from it at once
        self._headers: dict[int, Any] = {}  # of the images under way, by their number
        self._answers = self.create_publisher(Classification, "classification", 10)
        self.create_subscription(Image, "image", self._arrived.put, qos_profile_sensor_data)
        self._stream = self._model.stream(self._frames(), keep="latest", eta=self._eta, channels="bgr")
        threading.Thread(target=self._answer, daemon=True).start()

    def _frames(self) -> Iterator[Any]:
        bridge, number = CvBridge(), 0
        while (message := self._arrived.get()) is not None:
            self._headers[number] = message.header
            number += 1
            yield bridge.imgmsg_to_cv2(message, desired_encoding="bgr8")

    def _answer(self) -> None:
        for answer in self._stream:
            header = self._headers[answer.position]
            for number in [each for each in list(self._headers) if each <= answer.position]:
                del self._headers[number]  # those that were dropped, too
            if not isinstance(answer, Prediction):
                self.get_logger().warning(str(answer))
                continue
            result = Classification(header=header)
            for label, probability in answer.topk(5):
                result.results.append(ObjectHypothesis(class_id=label, score=probability))
            self._answers.publish(result)

    def close(self) -> None:
        """End the stream and its threads."""
        self._stream.close()
        self._arrived.put(None)


def main() -> None:
    """Run the node until it is interrupted."""
    rclpy.init()
    node = Classifier()
    try:
        rclpy.spin(node)
    finally:
        node.close()
        node.destroy_node()


if __name__ == "__main__":
    main()
