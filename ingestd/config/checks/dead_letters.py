"""What the options of dead letters must not say beside each other. Knows no servers."""

from __future__ import annotations

from ingestd.config.options import Pipeline
from ingestd.config.topics import reads_topic
from ingestd.config.values import Findings


def check_dead_letters(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note topics that would bring the dead letters back as records."""
    for index, pipeline in enumerate(pipelines):
        topic = pipeline.dead_letters.topic if pipeline.dead_letters is not None else None
        path = f"pipeline[{index}].dead_letters.topic"
        if topic is None or findings.spoiled(path):
            continue
        if topic == pipeline.topic:
            findings.add(path, f'"{topic}" is the topic that the pipeline reads: its dead letters would come back')
        elif pipeline.topic is not None and reads_topic(pipeline, topic):
            said = f'"{topic}" is one of the topics that {pipeline.topic} means: its dead letters would come back'
            findings.add(path, f"{said}; name it otherwise")
