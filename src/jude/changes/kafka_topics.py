"""What the broker says of its topics, asked through the Kafka client that the driver's JVM has anyway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ASK_MILLISECONDS: Final = "10000"


class Topic(NamedTuple):
    """A topic as it is now. A topic that was deleted and made again has another `topic_id`."""

    topic_id: str
    first: Mapping[int, int]  # partition -> offset of the oldest record that is still there
    end: Mapping[int, int]  # partition -> offset of the next record


class BrokerView:
    """Answers about topics, with the source's own security settings. Use it in a `with` block."""

    def __init__(self, spark: SparkSession, bootstrap_servers: str, options: Mapping[str, str]) -> None:
        """Connect. Raises Py4JJavaError for settings that Kafka's client refuses."""
        jvm: Any = spark.sparkContext._jvm
        properties = jvm.java.util.Properties()
        given = {n.removeprefix("kafka."): value for n, value in options.items() if n.startswith("kafka.")}
        ours = {"bootstrap.servers": bootstrap_servers, "default.api.timeout.ms": _ASK_MILLISECONDS}
        for name, value in ({"request.timeout.ms": _ASK_MILLISECONDS} | given | ours).items():
            properties.setProperty(name, str(value))
        self._jvm = jvm
        self._kafka = jvm.org.apache.kafka
        self._admin: Any = self._kafka.clients.admin.AdminClient.create(properties)

    def __enter__(self) -> BrokerView:
        return self

    def __exit__(self, *error: object) -> None:
        self._admin.close(self._jvm.java.time.Duration.ofSeconds(1))

    def names(self, pattern: str) -> set[str]:
        """Name the topics that match (Java's dialect, as Spark reads it). Raises Py4JJavaError."""
        found = self._admin.listTopics().names().get()
        return {str(name) for name in found if self._jvm.java.util.regex.Pattern.matches(pattern, name)}

    def topics(self, names: Iterable[str]) -> dict[str, Topic]:
        """Describe topics; one that is not there is left out. Raises Py4JJavaError."""
        there = set(self._admin.listTopics().names().get())
        wanted = self._jvm.java.util.ArrayList()
        for name in sorted(there.intersection(names)):
            wanted.add(name)
        described = self._admin.describeTopics(wanted).allTopicNames().get()
        return {str(name): self._topic(described[name]) for name in described}

    def _topic(self, description: Any) -> Topic:  # noqa: ANN401 - a Java object
        partitions = [int(each.partition()) for each in description.partitions()]
        spec = self._kafka.clients.admin.OffsetSpec
        ends = (self._offsets(description.name(), partitions, at) for at in (spec.earliest(), spec.latest()))
        return Topic(str(description.topicId().toString()), *ends)

    def _offsets(self, name: str, partitions: Iterable[int], at: Any) -> dict[int, int]:  # noqa: ANN401 - Java's
        asked = self._jvm.java.util.HashMap()
        places = {partition: self._kafka.common.TopicPartition(name, partition) for partition in partitions}
        for place in places.values():
            asked.put(place, at)
        answer = self._admin.listOffsets(asked)
        return {partition: int(answer.partitionResult(place).get().offset()) for partition, place in places.items()}
