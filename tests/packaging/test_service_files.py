"""The service unit, the image and the compose file are sound, as far as that can be seen without running them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ingestd.errors import ExitCode

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "systemd" / "ingestd.service"
NEEDS_SYSTEMD = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and "CI" not in os.environ,
    reason="systemd-analyze is missing: apt-get install systemd",
)


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def unit_options() -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            options.setdefault(name, []).append(value)
    return options


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def compose_schema() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads((Path(__file__).parent / "compose-spec.json").read_text()))


@NEEDS_SYSTEMD
def test_unit_is_exposed_no_more_than_2_0() -> None:
    done = systemd_analyze("security", "--offline=true", "--threshold=20", str(UNIT))
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    level = re.search(r"exposure level for ingestd\.service: ([\d.]+)", done.stdout)
    assert level is not None
    assert float(level.group(1)) <= 2.0


@NEEDS_SYSTEMD
def test_unit_verifies_without_a_word() -> None:
    done = systemd_analyze("verify", str(UNIT))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@NEEDS_SYSTEMD
def test_a_unit_with_a_misspelt_option_does_not_verify_clean(tmp_path: Path) -> None:
    broken = tmp_path / "ingestd.service"
    broken.write_text(UNIT.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in systemd_analyze("verify", str(broken)).stderr


def test_unit_is_not_restarted_for_what_a_restart_cannot_mend() -> None:
    statuses = unit_options()["RestartPreventExitStatus"][0].split()
    assert statuses == [str(int(ExitCode.USAGE)), str(int(ExitCode.HALTED)), str(int(ExitCode.ABORTED)), "127"]


def test_unit_may_do_what_the_daemon_needs() -> None:
    options = unit_options()
    families = options["RestrictAddressFamilies"][0].split()
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(families)
    assert "PrivateNetwork" not in options
    assert options["SystemCallFilter"][0] == "@system-service"
    assert options["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert (options["Type"], options["KillMode"]) == (["notify"], ["mixed"])


def test_compose_file_follows_the_compose_schema() -> None:
    compose_schema().validate(compose())


def test_compose_schema_refuses_a_misspelt_key() -> None:
    wrong = compose()
    wrong["services"]["kafka"]["health_check"] = wrong["services"]["kafka"].pop("healthcheck")
    with pytest.raises(jsonschema.ValidationError, match="health_check"):
        compose_schema().validate(wrong)


def test_compose_dependencies_exist_and_can_become_true() -> None:
    services = compose()["services"]
    for service in services.values():
        for name, needed in service.get("depends_on", {}).items():
            if needed["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
            else:
                assert services[name]["restart"] == "no"


def test_compose_gives_ingestd_every_variable_of_the_example() -> None:
    example = (ROOT / "examples" / "sales" / "ingestd.toml").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", example))
    given = set(compose()["services"]["ingestd"]["environment"])
    assert wanted
    assert {name for name in wanted if name.startswith(("KAFKA_", "POSTGRES_"))} <= given


def test_compose_publishes_ports_on_loopback_only_and_holds_no_password() -> None:
    services = compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    passwords = [service.get("environment", {}).get("POSTGRES_PASSWORD", "${:?") for service in services.values()]
    assert all(password.startswith("${") and ":?" in password for password in passwords)


def dockerfile() -> list[str]:
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def test_image_copies_only_files_that_exist_and_are_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        name for line in dockerfile() if line.startswith("COPY") and "--from" not in line for name in line.split()[1:-1]
    }
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_image_installs_from_the_lock_and_does_not_run_as_root() -> None:
    lines = dockerfile()
    assert any("--require-hashes -r requirements-run.lock" in line for line in lines)
    assert int(next(line for line in lines if line.startswith("USER")).split()[1]) > 0
    assert any(line.startswith("HEALTHCHECK") for line in lines)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-run.lock"])
def test_lock_names_no_index_and_every_package_has_hashes(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    packages = re.split(r"\n(?=[a-z])", text.partition("\n#    make lock\n")[2].strip())
    assert len(packages) > 20
    assert [package for package in packages if "--hash=sha256:" not in package] == []


def test_what_the_image_installs_is_what_is_tested() -> None:
    pinned = re.compile(r"^[a-z][\w.-]*==\S+", re.MULTILINE)
    tested = set(pinned.findall((ROOT / "requirements.lock").read_text()))
    assert set(pinned.findall((ROOT / "requirements-run.lock").read_text())) <= tested
