"""A subscription that follows what the publishers offer: nothing lost, nothing twice, whoever comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from support.ros_harness import BEST_EFFORT, RELIABLE
from support.ros_subject import Subject, ros_subject

from lwseg_ros.node.input_subscription import InputSubscription, choose_reliability, newly_lost

REL, BEST = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ("setting", "offered", "reliability", "reason"),
    [
        ("auto", [], REL, "no publisher"),
        ("auto", [REL], REL, "every publisher"),
        ("auto", [REL, REL, REL], REL, "every publisher"),
        ("auto", [BEST], BEST, "1 of 1 publishers"),
        ("auto", [REL, BEST, BEST], BEST, "2 of 3 publishers"),
        ("auto", [REL, ReliabilityPolicy.UNKNOWN], BEST, "1 of 2 publishers"),
        ("reliable", [BEST], REL, "parameter"),
        ("best_effort", [REL], BEST, "parameter"),
        ("best_effort", [], BEST, "parameter"),
    ],
)
def test_choice(setting: Any, offered: list[ReliabilityPolicy], reliability: ReliabilityPolicy, reason: str) -> None:
    choice = choose_reliability(setting, offered)
    assert choice.reliability == reliability
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("previous", "total", "lost"),
    [
        (0, 0, 0),
        (0, 3, 3),
        (40, 42, 2),
        (2**31 - 1, 2**31 + 1, 2),
        (2**31 - 1, 2**64 - 2**31, 1),  # Fast DDS's signed total, in a wider field
        (2**64 - 1, 0, 1),
        (2**32 - 1, 4, 5),
        (7, 5, 0),
        (0, 2**64 - 1, 0),
    ],
)
def test_the_middleware_s_total_wraps(previous: int, total: int, lost: int) -> None:
    assert newly_lost(total, previous) == lost


@pytest.fixture
def subject() -> Iterator[Subject]:
    with ros_subject("subject") as node:
        yield node


@pytest.fixture
def camera() -> Iterator[Subject]:
    with ros_subject("camera") as node:
        yield node


class Heard:
    """An InputSubscription with what it brings."""

    def __init__(self, subject: Subject, setting: Any = "auto", message_type: Any = Image) -> None:
        self.numbers: list[int] = []
        self.lost = 0
        self.subscription = InputSubscription(
            subject.node,
            message_type,
            "picture",
            depth=50,
            setting=setting,
            on_message=lambda message: self.numbers.append(int(message.header.frame_id)),
            on_lost=self._count,
        )
        self._timer = subject.node.create_timer(0.1, self.subscription.follow)

    def _count(self, number: int) -> None:
        self.lost += number

    @property
    def chosen(self) -> str:
        return self.subscription.choice.reliability.name


class Camera:
    """A publisher that numbers its images; many have no stamp, as some drivers leave it."""

    def __init__(self, camera: Subject, subject: Subject, qos: Any, first: int = 0) -> None:
        self._camera, self._subject = camera, subject
        self._publisher = camera.node.create_publisher(Image, "/picture", qos)
        self._next = first

    def wait(self) -> None:
        """Until both ends of the connection know of each other."""
        self._subject.spin_until(self._publisher.get_subscription_count, "a subscription")
        self._subject.spin_for(1.0)

    def publish(self, count: int, period_s: float = 0.03) -> list[int]:
        numbers = list(range(self._next, self._next + count))
        self._next += count
        for number in numbers:
            message = Image()
            message.header.frame_id = str(number)
            self._publisher.publish(message)
            self._subject.spin_for(period_s)
        return numbers

    def leave(self) -> None:
        self._camera.node.destroy_publisher(self._publisher)


@pytest.mark.integration
@pytest.mark.parametrize(("qos", "name"), [(RELIABLE, "RELIABLE"), (BEST_EFFORT, "BEST_EFFORT")])
@pytest.mark.parametrize("first", ["subscription", "publisher"])
def test_the_first_image_arrives_whatever_is_offered(
    subject: Subject, camera: Subject, qos: Any, name: str, first: str
) -> None:
    if first == "subscription":
        heard = Heard(subject)
        assert heard.chosen == "RELIABLE"
        publisher = Camera(camera, subject, qos)
    else:
        publisher = Camera(camera, subject, qos)
        subject.spin_until(lambda: subject.node.count_publishers("/picture"), "discovery")
        heard = Heard(subject)
    publisher.wait()
    numbers = publisher.publish(20)
    subject.spin_until(lambda: len(heard.numbers) == 20, f"20 images ({heard.numbers})")
    subject.spin_for(0.3)
    assert heard.numbers == numbers
    assert heard.chosen == name
    assert heard.lost == 0
    assert len(list(subject.node.subscriptions)) == 1, "the other one has been given up"


@pytest.mark.integration
@pytest.mark.parametrize(("qos", "name"), [(RELIABLE, "RELIABLE"), (BEST_EFFORT, "BEST_EFFORT")])
@pytest.mark.parametrize("before", [RELIABLE, BEST_EFFORT])
def test_a_publisher_that_comes_after_another_is_heard_from_its_first_image(
    subject: Subject, camera: Subject, before: Any, qos: Any, name: str
) -> None:
    heard = Heard(subject)
    former = Camera(camera, subject, before)
    former.wait()
    former.publish(3)
    former.leave()
    subject.spin_until(lambda: not subject.node.count_publishers("/picture"), "the end of the first")
    heard.numbers.clear()
    later = Camera(camera, subject, qos, first=100)
    later.wait()
    numbers = later.publish(20)
    subject.spin_until(lambda: len(heard.numbers) == 20, "20 images")
    assert heard.numbers == numbers
    assert heard.chosen == name


@pytest.mark.integration
def test_those_who_publish_on_lose_nothing_when_others_come_and_go(subject: Subject, camera: Subject) -> None:
    heard = Heard(subject)
    steady = Camera(camera, subject, RELIABLE)
    steady.wait()
    numbers = steady.publish(10)
    assert heard.chosen == "RELIABLE"
    guest = Camera(camera, subject, BEST_EFFORT, first=1000)
    numbers += steady.publish(40)
    assert heard.chosen == "BEST_EFFORT"
    assert "1 of 2 publishers" in heard.subscription.choice.reason
    guests = guest.publish(5)
    numbers += steady.publish(10)
    guest.leave()
    numbers += steady.publish(40)
    assert heard.chosen == "RELIABLE"
    subject.spin_for(0.5)
    assert [number for number in heard.numbers if number < 1000] == numbers
    assert [number for number in heard.numbers if number >= 1000] == guests
    assert heard.lost == 0


@pytest.mark.integration
def test_what_both_bring_counts_once_and_equal_images_of_one_all_count(subject: Subject) -> None:
    """A still camera without stamps sends equal messages. Called by hand: who brings what first is chance on a network."""
    heard = Heard(subject)
    receive = heard.subscription._receive
    for reliability, brought in [(REL, 1), (REL, 2), (BEST, 2), (REL, 3), (REL, 4)]:
        message = Image()
        message.header.frame_id = "7"
        receive(reliability, message)
        assert len(heard.numbers) == brought, (reliability, brought)


@pytest.mark.integration
@pytest.mark.parametrize("setting", ["reliable", "best_effort"])
def test_a_given_reliability_stays(subject: Subject, camera: Subject, setting: str) -> None:
    heard = Heard(subject, setting)
    publishers = [Camera(camera, subject, qos) for qos in (RELIABLE, BEST_EFFORT)]
    publishers[0].wait()
    assert publishers[0].publish(5) == heard.numbers
    assert heard.chosen == setting.upper()
    assert len(list(subject.node.subscriptions)) == 1
    assert heard.subscription.incompatible_qos == ("RELIABILITY" if setting == "reliable" else "")


@pytest.mark.integration
def test_what_does_not_fit_is_told_while_it_is_there_and_no_longer(subject: Subject, camera: Subject) -> None:
    heard = Heard(subject, "reliable")
    steady = Camera(camera, subject, RELIABLE)
    steady.wait()
    assert not heard.subscription.incompatible_qos
    for _ in range(2):
        guest = Camera(camera, subject, BEST_EFFORT, first=1000)
        subject.spin_until(lambda: heard.subscription.incompatible_qos == "RELIABILITY", "the guest's fault")
        guest.leave()
        subject.spin_until(lambda: not heard.subscription.incompatible_qos, "the end of the guest's fault")
    numbers = steady.publish(3)
    subject.spin_until(lambda: heard.numbers == numbers, "the other's images")


@pytest.mark.integration
@pytest.mark.parametrize("other", [CompressedImage, String])
def test_publishers_of_another_type_decide_nothing(subject: Subject, camera: Subject, other: Any) -> None:
    heard = Heard(subject)
    with ros_subject("stranger") as stranger:
        stranger.node.create_publisher(other, "/picture", BEST_EFFORT)
        publisher = Camera(camera, subject, RELIABLE)
        subject.spin_until(lambda: subject.node.count_publishers("/picture") == 2, "two publishers")
        publisher.wait()
        numbers = publisher.publish(5)
        subject.spin_until(lambda: len(heard.numbers) == 5, "5 images")
        assert heard.numbers == numbers
        assert heard.chosen == "RELIABLE"


@pytest.mark.integration
def test_closing_leaves_nothing(subject: Subject, camera: Subject) -> None:
    heard = Heard(subject)
    assert len(list(subject.node.subscriptions)) == 2
    heard.subscription.close()
    assert not list(subject.node.subscriptions)
