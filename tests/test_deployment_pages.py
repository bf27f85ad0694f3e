"""What docs/deployment says of systemd, containers and Kubernetes, as far as one machine can show it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import web
import web.testing
from tests.pages import ROOT, Block, all_blocks
from tests.serving import PATIENCE, connect, fetch, get, process, program
from tests.tls.authorities import Authority, Pair
from tests.wire.clients import eventually

DEPLOYMENT = ROOT / "docs/deployment"
PROGRAM = """
import web
server = web.Server(web.App(web.readyz(), web.GET("/", lambda req: "hello")), "127.0.0.1", 0, workers={workers},
                    limits=web.Limits(shutdown_delay={delay}, shutdown_grace=5))
server.open()
print(server.port, flush=True)
server.run()
"""


def shown(page: str, language: str) -> list[Block]:
    return [one for one in all_blocks(DEPLOYMENT / f"{page}.md") if one.language == language]


def namespace_of(page: str) -> dict[str, Any]:
    """What the Python of a page makes, without the blocks that are not to be run."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in shown(page, "python"):
        if block.mark is None:
            exec(compile(block.text, str(block), "exec", dont_inherit=True), namespace)
    return namespace


# ---- systemd ----


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    paths = []
    for block in shown("systemd", "ini"):
        name = re.match(r"# /etc/systemd/system/(\S+)\n", block.text)
        assert name is not None
        path = tmp_path / name[1]
        path.write_text(re.sub(r"(?m)^ExecStart=.*", "ExecStart=/bin/true", block.text))
        paths.append(str(path))
    return paths


def test_the_units_are_understood(units: list[str]) -> None:
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=PATIENCE)
    said = [line for line in done.stderr.splitlines() if "notify-reload" not in line]  # unknown before systemd 253
    if any("Failed to" in line and "bus" in line for line in said):
        pytest.skip(f"systemd-analyze cannot work here: {said}")
    assert (done.returncode, [line for line in said if "/app." in line]) == (0, [])


def test_the_sandbox_is_tight(units: list[str]) -> None:
    """At most 2 of 10, as the page says."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", units[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze looks at no files")
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_systemd_waits_longer_than_the_server() -> None:
    unit = shown("systemd", "ini")[0].text
    patience = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0])
    overview = (ROOT / "docs/deployment.md").read_text()
    delay, grace = re.findall(r"shutdown_delay=(\d+), shutdown_grace=(\d+)", overview)[0]
    assert patience > int(delay) + int(grace)


# ---- containers ----


def test_the_image_waits_and_asks_rightly(workplace: Path) -> None:
    server = namespace_of("containers")["server"]
    dockerfile = shown("containers", "dockerfile")[0].text
    text = (DEPLOYMENT / "containers.md").read_text()
    assert (
        int(re.findall(r"--stop-timeout (\d+)", text)[0]) > server.limits.shutdown_delay + server.limits.shutdown_grace
    )
    assert re.findall(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE) == ["8000"] == re.findall(r"-p \d+:(\d+)", text)
    asks = json.loads(re.findall(r"CMD (\[.*\])$", dockerfile, re.MULTILINE)[0])
    code = asks[-1]
    assert asks[:2] == ["python", "-c"]
    with web.Server(server.app, "127.0.0.1", 0).running() as running:
        here = code.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")
        assert here != code
        with process("-c", here) as child:
            assert child.finish()[0] == 0
    with process("-c", here) as child:
        assert child.finish()[0] != 0


@pytest.mark.parametrize("workers", [0, 2])
def test_process_1_minds_sigterm(workers: int) -> None:
    """The kernel keeps signals from process 1 of a container that it has no handler for."""
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip("no namespaces here")
    code = PROGRAM.format(workers=workers, delay=0).replace("import web\n", "import os, web\nassert os.getpid() == 1\n")
    launch = f"import os, sys; os.execvp('unshare', [*{command!r}, sys.executable, *sys.argv[1:]])"
    with process("-c", launch, *program(code)) as child:
        port = int(child.line())
        child.ready()
        assert fetch(port) == "hello"
        inside = Path(f"/proc/{child.popen.pid}/task/{child.popen.pid}/children").read_text().split()
        assert len(inside) == 1
        os.kill(int(inside[0]), signal.SIGTERM)
        assert child.finish()[0] == 0


# ---- Kubernetes ----


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return {one["kind"]: one for one in yaml.safe_load_all(shown("kubernetes", "yaml")[0].text)}


@pytest.fixture
def server(tmp_path: Path) -> web.Server:
    made = namespace_of("kubernetes")["make_server"](tmp_path)
    assert isinstance(made, web.Server)
    return made


def test_probes_ask_what_is_there(manifests: dict[str, Any], server: web.Server) -> None:
    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "https": 8443}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    with web.testing.Client(server.app) as client:
        for probe in probes.values():
            reply = client.get(probe["path"], headers={"Host": "10.1.2.3:8000"})  # as the kubelet names it
            assert reply.status_code == 200
    assert probes["readinessProbe"]["path"] == "/readyz" != probes["livenessProbe"]["path"]
    targets = {port["targetPort"] for port in manifests["Service"]["spec"]["ports"]}
    assert targets == set(ports)


def test_the_pod_is_given_the_time_that_it_takes(manifests: dict[str, Any], server: web.Server) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    probe = pod["containers"][0]["readinessProbe"]
    limits = server.limits
    assert pod["terminationGracePeriodSeconds"] > limits.shutdown_delay + limits.shutdown_grace
    assert limits.shutdown_delay > probe["periodSeconds"] * probe["failureThreshold"]


def test_the_pod_may_do_little(manifests: dict[str, Any]) -> None:
    spec = manifests["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"tls": "/etc/app/tls", "tmp": "/tmp"}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert not any("subPath" in mount for mount in container["volumeMounts"])
    labels = spec["template"]["metadata"]["labels"]
    assert labels == spec["selector"]["matchLabels"] == manifests["Service"]["spec"]["selector"]
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["minAvailable"] < spec["replicas"]


class Secret:
    """A mounted Secret as the kubelet keeps it: ``tls.crt -> ..data/tls.crt``, ``..data`` -> a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(f"..data/{name}")

    def put(self, pair: Pair) -> None:
        self.number += 1
        fresh = self.folder / f"..2026_{self.number}"
        fresh.mkdir()
        (fresh / "tls.crt").write_bytes(pair.chain.read_bytes())
        (fresh / "tls.key").write_bytes(pair.key.read_bytes())
        old = (self.folder / "..data").resolve() if self.number > 1 else None
        (self.folder / "..data_tmp").symlink_to(fresh.name)
        (self.folder / "..data_tmp").replace(self.folder / "..data")
        if old is not None:
            shutil.rmtree(old)


def test_a_renewed_secret_is_read(tmp_path: Path) -> None:
    (tmp_path / "authority").mkdir()
    (tmp_path / "secret").mkdir()
    authority, secret = Authority(tmp_path / "authority"), Secret(tmp_path / "secret")
    secret.put(authority.issue("first", "localhost"))
    tls = web.TlsContext(tmp_path / "secret/tls.crt", tmp_path / "secret/tls.key")
    server = web.Server(web.App(), "127.0.0.1", 0, tls=tls, watch_certificates=0.01)

    def serial() -> int:
        context = ssl.create_default_context(cafile=authority.file)
        with connect(server.port) as sock, context.wrap_socket(sock, server_hostname="localhost") as wrapped:
            der = wrapped.getpeercert(binary_form=True)
        assert der is not None
        return web.Certificate(der).serial

    def is_renewed(before: int) -> bool:
        return serial() != before

    with server.running():
        first = serial()
        for name in ("second", "third"):
            secret.put(authority.issue(name, "localhost"))
            eventually(partial(is_renewed, first), "the new certificate is shown")
            first = serial()


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_loses_no_request(workers: int) -> None:
    """As for a pod: after SIGTERM requests go on, over kept connections and new ones, until the endpoint is gone.

    A connection that is refused meanwhile, or ends before its answer, is a request that was lost. The delay here never
    ends by itself: a second signal ends it.
    """
    with process(*program(PROGRAM.format(workers=workers, delay=1000))) as child:
        port = int(child.line())
        child.ready()
        kept = [connect(port) for _ in range(8)]
        for sock in kept:
            assert get(sock).endswith(b"hello")
        child.signal(signal.SIGTERM)
        for sock in kept:  # sent after SIGTERM, or in the same moment
            answer = get(sock)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"hello")
        while True:  # a proxy that has not heard of it goes on, and the probe asks
            with connect(port) as sock:
                assert get(sock).endswith(b"hello")
            with connect(port) as sock:
                if get(sock, "/readyz").startswith(b"HTTP/1.1 503 "):
                    break
        with connect(port) as sock:  # the endpoint is not gone yet
            answer = get(sock)
            assert answer.endswith(b"hello")
            assert b"\r\nConnection: close\r\n" in answer
        for sock in kept:
            sock.close()
        child.signal(signal.SIGTERM)
        assert child.finish()[0] == 0
