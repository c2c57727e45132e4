"""The text of a configuration: variables in it, .env files beside it, lines of its options. Knows no option."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from urllib.parse import quote

from dotenv.parser import parse_stream

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_QUOTED_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*')


class Substituted(str):
    """A value into which variables were put; `template` is what stands in the file and may be shown."""

    template: str

    def __new__(cls, value: str, template: str) -> Substituted:
        made = super().__new__(cls, value)
        made.template = template
        return made


def expand(template: str, variables: Mapping[str, str], problems: list[str]) -> str:
    """`template` with ${VAR}, ${VAR:-default} and $$ replaced; a default may contain variables itself.

    In the user:password part of a URL, values are percent-encoded: an environment variable holds the password as it
    is, a URL cannot. What cannot be replaced is appended to `problems`; values never appear there.
    """
    url = _URL.match(template)
    encode_from, encode_to = (url.end(), _last_at_sign(template)) if url else (0, -1)
    parts: list[str] = []
    position = 0
    while position < len(template):
        dollar = template.find("$", position)
        if dollar < 0:
            parts.append(template[position:])
            break
        parts.append(template[position:dollar])
        follows = template[dollar + 1 : dollar + 2]
        if follows == "{":
            value, position = _variable(template, dollar, variables, problems)
            parts.append(quote(value, safe="") if encode_from <= dollar < encode_to else value)
        else:
            parts.append("$")
            position = dollar + (2 if follows == "$" else 1)
    return "".join(parts)


def _variable(template: str, start: int, variables: Mapping[str, str], problems: list[str]) -> tuple[str, int]:
    end = _closing_brace(template, start + 2)
    if end < 0:
        problems.append('"${" is not closed; write ${NAME} or ${NAME:-default}, and $$ for a dollar sign')
        return "", len(template)
    name, has_default, default = template[start + 2 : end].partition(":-")
    if not _NAME.fullmatch(name):
        problems.append(f'"{template[start : end + 1]}" is no variable; write ${{NAME}} or ${{NAME:-default}}')
    elif variables.get(name) or (name in variables and not has_default):
        return variables[name], end + 1
    elif has_default:
        return expand(default, variables, problems), end + 1
    else:
        problems.append(
            f"environment variable {name} is not set; set it, in the environment or in .env, "
            f"or write ${{{name}:-default}}"
        )
    return "", end + 1


def _closing_brace(template: str, position: int) -> int:
    depth = 1
    while position < len(template):
        if template.startswith("${", position):
            depth += 1
            position += 1
        elif template[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1


def _last_at_sign(template: str) -> int:
    """Where the user:password part of a URL template ends; -1 when there is none. Variables are skipped."""
    found, position = -1, 0
    while position < len(template):
        if template.startswith("${", position):
            end = _closing_brace(template, position + 2)
            position = len(template) if end < 0 else end
        elif template[position : position + 1] == "@":
            found = position
        position += 1
    return found


def dotenv_variables(folders: list[Path], problems: list[str]) -> dict[str, str]:
    """Variables of the .env files of `folders`; the first folder wins. No file is no problem, an unreadable one is.

    A value stands for itself: "$" in a password is not a variable.
    """
    variables: dict[str, str] = {}
    for folder in dict.fromkeys(path.resolve() for path in folders):
        path = folder / ".env"
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read: {reason_of(error)}")
            continue
        for binding in parse_stream(StringIO(text)):
            if binding.error:
                problems.append(f"{path}:{binding.original.line}: not understood; write NAME=value")
            elif binding.key is not None and binding.value is not None:
                variables.setdefault(binding.key, binding.value)
    return variables


def reason_of(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return (error.strerror or str(error)).lower()


def line_numbers(text: str) -> dict[str, int]:
    """Line (from 1) of each option by its path: "pipeline[0].column[2].type". `text` must be valid TOML.

    Found by a scan, not by a parser: options of inline tables may be missing; ask `line_of`.
    """
    return _LineScan().lines_of(text)


def line_of(lines: Mapping[str, int], path: str) -> int | None:
    """The line of `path`, or of the nearest thing around it; None when nothing of it is in the file."""
    path = path.replace('"', "")
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


class _LineScan:
    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._prefix = ""
        self._array = ""
        self._depth = 0
        self._quote = ""

    def lines_of(self, text: str) -> dict[str, int]:
        for number, line in enumerate(text.splitlines(), 1):
            if self._quote:
                if self._quote in line:
                    self._quote = ""
            elif self._depth > 0:
                self._element(line, number)
                self._depth += _opened(line)
            else:
                self._statement(line, number)
        return self._lines

    def _statement(self, line: str, number: int) -> None:
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            self._prefix = self._path_of(_keys(header[2]), appends=header[1] == "[[")
            self._lines.setdefault(self._prefix, number)
        elif key:
            path = ".".join([self._prefix, *_keys(key[1])]).lstrip(".")
            self._lines.setdefault(path, number)
            value = line[key.end() :]
            self._quote = next((mark for mark in ('"""', "'''") if value.count(mark) == 1), "")
            self._depth = 0 if self._quote else _opened(value)
            self._array = path if value.lstrip().startswith("[") else ""

    def _element(self, line: str, number: int) -> None:
        """A line within a list over several lines; a "{" that begins it begins the list's next table."""
        if self._array and self._depth == 1 and line.lstrip().startswith("{"):
            index = self._counts.get(self._array, -1) + 1
            self._counts[self._array] = index
            self._lines.setdefault(f"{self._array}[{index}]", number)

    def _path_of(self, keys: list[str], appends: bool) -> str:
        path = ""
        for place, key in enumerate(keys):
            path = f"{path}.{key}".lstrip(".")
            if appends and place == len(keys) - 1:
                self._counts[path] = self._counts.get(path, -1) + 1
                for inner in [known for known in self._counts if known.startswith(f"{path}[{self._counts[path]}]")]:
                    del self._counts[inner]
            if path in self._counts:
                path = f"{path}[{self._counts[path]}]"
        return path


def _keys(dotted: str) -> list[str]:
    return [key.strip().strip("\"'") for key in re.findall(r"\"[^\"]*\"|'[^']*'|[^.\s]+", dotted)]


def _opened(line: str) -> int:
    bare = _QUOTED_OR_COMMENT.sub("", line)
    return bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")
