from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from apex_llm_gateway.keys import new_key
from apex_llm_gateway.settings import GatewaySettings
from apex_llm_gateway.strength import refusal

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
CONFIG = tomllib.loads((DEPLOY / "config.toml").read_text())
PATIENCE = 30.0


def instructions(path):
    """Return the instructions of a Containerfile, as pairs of a word and the rest."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.strip().partition(" ") for line in lines) if word]


def manifests():
    return {path.stem: yaml.safe_load(path.read_text()) for path in (DEPLOY / "kubernetes").glob("*.yaml")}


def container():
    return manifests()["deployment"]["spec"]["template"]["spec"]["containers"][0]


class Unit:
    """A systemd unit: sections of keys that may come several times."""

    def __init__(self, path):
        parser = configparser.RawConfigParser(strict=False, dict_type=Repeated, delimiters="=")
        parser.optionxform = str
        parser.read(path)
        self.service = dict(parser["Service"])

    def values(self, key):
        return self.service[key].split("\n")


class Repeated(dict):
    def __setitem__(self, key, value):
        if isinstance(value, list) and isinstance(self.get(key), list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


UNIT = Unit(DEPLOY / "systemd" / "apex-llm.service")
IMAGE = instructions(DEPLOY / "Containerfile")


def the_command(word):
    (command,) = [json.loads(rest) for found, rest in IMAGE if found == word]
    return command


#: What each kind of deployment runs.
COMMANDS = {
    "container": the_command("ENTRYPOINT") + the_command("CMD"),
    "kubernetes": the_command("ENTRYPOINT") + container()["args"],
    "systemd": shlex.split(UNIT.service["ExecStart"]),
}


def secret_files():
    return {entry["key"].removeprefix("file:") for entry in CONFIG["gateway"]["api_keys"]}


class Deployed:
    """One of the command lines with the configuration as it is, but for its port and the place of its state."""

    def __init__(self, command, folder, **variables):
        secrets, config = folder / "secrets", folder / "config.toml"
        secrets.mkdir()
        self.keys = {name: new_key() for name in secret_files()}
        for name, key in self.keys.items():
            (secrets / name).write_text(f"{key}\n")
        shutil.copy(DEPLOY / "config.toml", config)
        (folder / "config.test.toml").write_text(
            f"[gateway]\nport = 0\n[state.options]\npath = {json.dumps(str(folder / 'state.db'))}\n"
        )
        arguments = [str(config) if word == "/etc/apex-llm/config.toml" else word for word in command[1:]]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apex_llm_cli", *arguments, "--json"],
            cwd=secrets,
            env={**os.environ, "APEX_LLM_ENV": "test", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.url = json.loads(line)["url"]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def status(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:  # noqa: S310 - http on loopback
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.mark.parametrize("kind", COMMANDS)
def test_its_command_line_serves_answers_probes_and_ends(kind, tmp_path):
    probes = {container()[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert len(probes) == 2
    with Deployed(COMMANDS[kind], tmp_path) as deployed:
        assert {deployed.status(path) for path in probes} == {200}
        request = urllib.request.Request(  # noqa: S310 - http on loopback
            f"{deployed.url}/v1/models", headers={"Authorization": f"Bearer {deployed.keys['gateway-key']}"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            assert json.load(answer)["data"]
        deployed.process.send_signal(signal.SIGTERM)
        if "--linger" in COMMANDS[kind]:
            # It is told not to wait as soon as it shows that it would.
            while deployed.status("/health/ready") == 200:
                pass
            deployed.process.send_signal(signal.SIGTERM)
        assert deployed.process.wait(PATIENCE) == 0
        told = deployed.process.stderr.read().splitlines()
        assert all(line.endswith("not ready any more, and still answering for 10 seconds") for line in told)
        assert len(told) == ("--linger" in COMMANDS[kind])


def test_the_health_check_of_the_image_tells_life_from_death(tmp_path):
    (check,) = [rest for word, rest in IMAGE if word == "HEALTHCHECK"]
    python, flag, code = json.loads(check.partition("CMD ")[2])
    ast.parse(code)

    def healthy(url):
        command = [sys.executable, flag, code.replace("http://127.0.0.1:8080", url)]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode

    assert python == "python"
    with Deployed(COMMANDS["container"], tmp_path) as deployed:
        assert healthy(deployed.url) == 0
    assert healthy(deployed.url) == 1


def test_systemd_is_told_when_it_serves(tmp_path):
    assert UNIT.service["Type"] == "notify"
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(PATIENCE)
        with Deployed(COMMANDS["systemd"], tmp_path, NOTIFY_SOCKET=address):
            assert manager.recv(100) == b"READY=1"


def test_secrets_have_the_same_names_everywhere():
    example = manifests()["secret.example"]["stringData"]
    credentials = {value.partition(":")[0] for value in UNIT.values("LoadCredential")}
    assert secret_files() == set(example) == credentials
    assert all(f"--from-literal={name}=" in (DEPLOY / "kustomization.yaml").read_text() for name in secret_files())


def test_the_keys_of_the_example_are_refused():
    for key in manifests()["secret.example"]["stringData"].values():
        assert refusal(key)


def test_there_is_time_to_drain():
    shutdown = CONFIG["gateway"]["shutdown_timeout"]
    args = container()["args"]
    linger = float(args[args.index("--linger") + 1])
    grace = manifests()["deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= linger + shutdown + 10
    assert int(UNIT.service["TimeoutStopSec"]) >= shutdown + 10
    readiness = container()["readinessProbe"]
    assert linger >= 2 * readiness["periodSeconds"] * readiness["failureThreshold"]


def test_ports_and_places_agree():
    port = CONFIG["gateway"].get("port", GatewaySettings().port)
    assert [str(port)] == [rest for word, rest in IMAGE if word == "EXPOSE"]
    assert [port] == [ports["containerPort"] for ports in container()["ports"]]
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    (workdir,) = [rest for word, rest in IMAGE if word == "WORKDIR" and rest != "/src"]
    state = CONFIG["state"]["options"]["path"].rpartition("/")[0]
    assert {workdir, state, "/tmp", "/etc/apex-llm"} == mounts  # noqa: S108 - in the container
    assert container()["workingDir"] == workdir
    assert state == f"/var/lib/{UNIT.service['StateDirectory']}"
    users = {rest for word, rest in IMAGE if word == "USER"}
    security = manifests()["deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert users == {f"{security['runAsUser']}:{security['runAsGroup']}"}


def test_everything_the_image_copies_is_there_and_is_sent_to_the_builder():
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for word, rest in IMAGE
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_the_container_may_nothing_that_it_does_not_need():
    spec = manifests()["deployment"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_builds_what_refers_to_each_other():
    built = subprocess.run(
        [shutil.which("kubectl"), "kustomize", DEPLOY], capture_output=True, check=True, timeout=PATIENCE
    )
    documents = {document["kind"]: document for document in yaml.safe_load_all(built.stdout)}
    pods = documents["Deployment"]["spec"]["template"]
    labels = pods["metadata"]["labels"]
    assert documents["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert documents["Service"]["spec"]["selector"] == labels
    assert documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert (
        documents["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == documents["Deployment"]["metadata"]["name"]
    )
    volumes = {volume["name"]: volume for volume in pods["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == documents["ConfigMap"]["metadata"]["name"]
    assert tomllib.loads(documents["ConfigMap"]["data"]["config.toml"]) == CONFIG
    assert volumes["secrets"]["secret"]["secretName"] == manifests()["secret.example"]["metadata"]["name"]
    assert {mount["name"] for mount in pods["spec"]["containers"][0]["volumeMounts"]} == set(volumes)
    assert "Secret" not in documents


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
class TestUnit:
    def analyze(self, tmp_path, *arguments):
        unit = tmp_path / "apex-llm.service"
        text = (DEPLOY / "systemd" / "apex-llm.service").read_text()
        unit.write_text(text.replace(COMMANDS["systemd"][0], sys.executable))
        command = ["systemd-analyze", *arguments, str(unit)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def test_it_verifies(self, tmp_path):
        verified = self.analyze(tmp_path, "verify")
        assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")

    def test_it_is_hardened(self, tmp_path):
        analyzed = self.analyze(tmp_path, "security", "--offline=true", "--threshold=15")
        assert analyzed.returncode == 0, analyzed.stdout.splitlines()[-1]
