"""The connectors of a running Kafka Connect, over its REST interface. Knows neither its process nor Debezium."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ingestd.embedded.child import wait_until
from ingestd.errors import StartupError

USER = "ingestd"
"""Who may use the interface; without a login every user of this machine could read the source's password there."""
_HTTP_SECS = 30.0
_PAUSE_SECS = 0.05


class Connectors:
    """What runs in one Connect worker. Every method raises StartupError, with Connect's reason, when it is refused."""

    def __init__(self, url: str, user: str, password: str):
        self._url = url
        self._login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def serves(self) -> bool:
        """Whether the worker answers yet."""
        try:
            self._request("GET", "/connectors")
        except StartupError:
            return False
        return True

    def put(self, name: str, config: Mapping[str, str]) -> None:
        """Create the connector, or give it another configuration; Connect checks it first, then starts its tasks."""
        self._request("PUT", f"/connectors/{quote(name)}/config", {**config, "name": name})

    def remove(self, name: str) -> None:
        """Stop and forget it. What it made in its source (slot, publication) stays there."""
        self._request("DELETE", f"/connectors/{quote(name)}")

    def restart(self, name: str) -> None:
        """Start it and its tasks again, also after a failure."""
        self._request("POST", f"/connectors/{quote(name)}/restart?includeTasks=true")

    def states(self, name: str) -> list[str]:
        """State of the connector, then of each task, as Connect calls them: RUNNING, FAILED, PAUSED, UNASSIGNED."""
        return [part["state"] for part in self._parts(name)]

    def failure(self, name: str) -> str | None:
        """Connect's reason, in one line, when the connector or a task has failed."""
        for part in self._parts(name):
            if part["state"] == "FAILED":
                return reason_of(part.get("trace", "")) or "no reason given"
        return None

    def noted(self, name: str) -> list[dict[str, Any]]:
        """How far the connector has come, as its worker wrote it down last; a restart goes on from there.

        Empty: a restart begins with the snapshot, and what is deleted until then is told to nobody.
        """
        answer = self._request("GET", f"/connectors/{quote(name)}/offsets")
        return [entry["offset"] for entry in answer["offsets"]]

    def wait_running(self, name: str, timeout_secs: float) -> None:
        """Return once the connector and at least one task run."""

        def decided() -> bool:
            if failure := self.failure(name):
                raise StartupError(f"the connector {name} failed: {failure}")
            states = self.states(name)
            return len(states) > 1 and set(states) == {"RUNNING"}

        if not wait_until(decided, timeout_secs, _PAUSE_SECS):
            raise StartupError(f"the connector {name} does not run after {timeout_secs:.0f} s: {self.states(name)}")

    def _parts(self, name: str) -> list[dict[str, Any]]:
        answer = self._request("GET", f"/connectors/{quote(name)}/status")
        return [answer["connector"], *answer["tasks"]]

    def _request(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": self._login},
            method=method,
        )
        deadline = time.monotonic() + _HTTP_SECS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=_HTTP_SECS) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                with error:
                    said = _message(error.read())
                # A new connector has no status for a moment, and none at all may be read during a rebalance.
                if error.code not in (404, 409) or method != "GET" or time.monotonic() > deadline:
                    raise StartupError(f"Kafka Connect refused {method} {path}: {said or error.reason}") from error
            except (OSError, ValueError) as error:
                raise StartupError(f"Kafka Connect does not answer at {self._url}: {error}") from error
            time.sleep(_PAUSE_SECS)


def reason_of(trace: str) -> str:
    """The innermost cause of a Java stack trace, without the name of its class, in one line."""
    lines = [line.strip() for line in trace.splitlines() if line.strip() and not line.startswith("\tat ")]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    chosen = (causes or lines or [""])[-1 if causes else 0]
    kind, colon, rest = chosen.partition(": ")
    return (rest if colon and "." in kind and " " not in kind else chosen)[:300]


def _message(body: bytes) -> str:
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Its last line tells where else the same could be read.
    kept = [line for line in lines if not line.startswith("You can also find the above list of errors")]
    return " ".join(kept)[:400]
