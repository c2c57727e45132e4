"""Schemas of a schema registry by id, each fetched once; what a failure means. Knows no format.

A schema that the registry does not know is the record's fault: a dead letter. A registry that cannot be reached, or
does not let us in, is not: nothing may be refused for it.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from ingestd.config.options import SchemaRegistry
from ingestd.decode.formats.framing import Unreadable
from ingestd.errors import Halt, Retryable

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

_TIMEOUT_SECS = 10
_MOST_REFERENCES = 1000
_UNKNOWN = {40401, 40402, 40403}
"""The registry's own words for: no such subject, version, schema. Any other 404 comes from something else."""
_DENIED = (401, 403)
_WAIT = {408, 425, 429}


class _InternalError(Retryable):
    """HTTP 500; what some registries answer to a form that they cannot give."""


class Registered(Struct, frozen=True):
    """One schema; `parts` are the schemas it refers to, by the name it uses, each behind those that it needs."""

    kind: str
    """AVRO, JSON or PROTOBUF."""
    text: str
    parts: dict[str, str]


class Schemas:
    """The schemas of one registry. Each request has a connection of its own: hours may pass until the next."""

    def __init__(self, registry: SchemaRegistry):
        self._registry = registry
        self.place = public_url(registry)

    def fetch(self, schema_id: int) -> Registered:
        """The schema `schema_id` with all it refers to, as the registry shows it.

        Raises: Unreadable when the registry has no such schema; Retryable when it does not answer; Halt when it
        denies access, is no registry, or its properties are wrong.
        """
        return self._fetch(schema_id, None)

    def fetch_descriptors(self, schema_id: int) -> Registered:
        """The Protobuf schema `schema_id`, which was just there as .proto text, as descriptors. Raises as `fetch`."""
        try:
            schema = self._fetch(schema_id, "serialized")
        except _InternalError:
            raise self._text_only(schema_id) from None
        if any(not _is_base64(text) for text in (schema.text, *schema.parts.values())):
            raise self._text_only(schema_id)
        return schema

    def _text_only(self, schema_id: int) -> Halt:
        said = f"gives the Protobuf schema {schema_id} as .proto text only, ingestd needs descriptors"
        mend = "use a registry that gives them (format=serialized), or register base64 descriptors"
        return Halt(f"schema registry {self.place}: {said}: {mend}; then start ingestd again")

    def _fetch(self, schema_id: int, form: str | None) -> Registered:
        with self._judged(f"schema id {schema_id}"), connect(self._registry) as client:
            schema = client.get_schema(schema_id, fmt=form)
            if not schema.schema_str or not isinstance(schema.schema_str, str):
                raise ValueError("an answer without a schema")
            parts: dict[str, str] = {}
            self._collect(client, schema, form, parts)
            return Registered(schema.schema_type or "AVRO", schema.schema_str, parts)

    def ask(self) -> int:
        """The number of subjects, as a test of address and login. Raises as `fetch` does."""
        with self._judged("the list of subjects"), connect(self._registry) as client:
            return len(client.get_subjects())

    def _collect(self, client: Any, schema: Any, form: str | None, parts: dict[str, str]) -> None:
        for part in schema.references or ():
            if part.name in parts or not part.subject or part.version is None:
                continue
            if len(parts) > _MOST_REFERENCES:
                raise Unreadable(f"its schema refers to more than {_MOST_REFERENCES} others")
            inner = client.get_version(part.subject, part.version, True, form).schema
            self._collect(client, inner, form, parts)
            parts[part.name] = inner.schema_str or ""

    @contextmanager
    def _judged(self, what: str) -> Iterator[None]:
        """Turns what the client raises into our decisions."""
        _require_packages()
        import httpx2
        from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

        try:
            yield
        except Unreadable:
            raise
        except SchemaRegistryError as error:
            raise self._verdict(error.http_status_code, error.error_code, what) from None
        except (httpx2.HTTPError, OSError, OAuthTokenError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise Retryable(f"schema registry {self.place}: cannot be reached: {said[:200]}") from None
        except (ValueError, TypeError, LookupError, AttributeError, httpx2.InvalidURL) as error:
            raise self._no_registry(f"gives no answer of a schema registry ({type(error).__name__})") from None

    def _verdict(self, status: int, code: int | None, what: str) -> Exception:
        where = f"schema registry {self.place}"
        if status == 404 and code in _UNKNOWN:
            return Unreadable(f"{what} is not in the schema registry")
        if status in _DENIED:
            mend = 'mend user and password in schema_registry.url, or "basic.auth.user.info" in its properties'
            return Halt(f"{where}: access denied (HTTP {status}) to {what}: {mend}, and start ingestd again")
        if status == 500:
            return _InternalError(f"{where}: answers with HTTP {status} to {what}")
        if status >= 500 or status in _WAIT:
            return Retryable(f"{where}: answers with HTTP {status} to {what}")
        return self._no_registry(f"answers with HTTP {status} to {what}")

    def _no_registry(self, said: str) -> Halt:
        path = "schema_registry.url needs the path of its Confluent-compatible interface"
        return Halt(f"schema registry {self.place}: {said}: {path}; mend it and start ingestd again")


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


def connect(registry: SchemaRegistry) -> SchemaRegistryClient:
    """A client to be closed; nothing is sent yet. Raises Halt when packages are missing or properties are wrong."""
    _require_packages()
    from confluent_kafka.schema_registry import SchemaRegistryClient

    try:
        return SchemaRegistryClient(client_properties(registry))
    except (ValueError, TypeError, OSError) as error:
        raise Halt(f"schema_registry.properties: {error}; mend them and start ingestd again") from None


def _require_packages() -> None:
    try:
        importlib.import_module("confluent_kafka.schema_registry")
    except ImportError as error:
        raise missing_package(error) from None


def missing_package(error: ImportError) -> Halt:
    """What to do about it."""
    needs = "formats of a schema registry need more packages: pip install 'ingestd[registry]'"
    return Halt(f"{needs} ({error.name or error} is missing); then start ingestd again")


def client_properties(registry: SchemaRegistry) -> dict[str, Any]:
    """Properties of the registry's client; the login is taken out of the URL, which libraries may log.

    No retries of its own by default: the worker's backoff says why it waits, and goes on beating.
    """
    chosen: dict[str, Any] = {"timeout": _TIMEOUT_SECS, "max.retries": 0}
    chosen |= {name: _revealed(value) for name, value in registry.properties.items()}
    login = urlsplit(_addresses(registry)[0])
    if login.username is not None:
        chosen["basic.auth.user.info"] = f"{unquote(login.username)}:{unquote(login.password or '')}"
    return chosen | {"url": public_url(registry)}


def public_url(registry: SchemaRegistry) -> str:
    """The registry's address, or addresses, without user and password."""
    return ",".join(_without_login(address) for address in _addresses(registry))


def _addresses(registry: SchemaRegistry) -> list[str]:
    return [address.strip() for address in _revealed(registry.url).split(",")]


def _without_login(address: str) -> str:
    scheme, _, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def _revealed(value: Any) -> Any:
    return str.__str__(value) if isinstance(value, str) else value
