"""The servers that are compared: how each is started at its best on one core, and which workloads it takes part in.

One process that serves, one thread where the server has the choice, no access log, backlog 4096. A workload in which a
server cannot take part by its nature has the reason in `out`; one that no entry names is left out of that table.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from bench import harness
from bench.load import workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

APPS = Path(__file__).with_name("apps")
ROUTES, HOOKS = 100, 10
REFERENCE, OURS, NGINX = "c", "ours", "nginx"


@dataclasses.dataclass(frozen=True)
class Start:
    """What a command is made from."""

    python: str  # of the environment that holds the peers
    folder: Path  # of the run: certificate, static files, the reference's binaries
    port: int
    tls: bool
    setting: str
    load: workloads.Workload | None = None  # the reference answers one workload only

    @property
    def pair(self) -> list[str]:
        """The certificate's and the key's path, or nothing."""
        return [str(self.folder / "cert.pem"), str(self.folder / "key.pem")] if self.tls else []

    @property
    def environment(self) -> dict[str, str]:
        hooked = self.setting == workloads.HOOKED
        return {
            "PYTHONPATH": str(APPS),
            "BENCH_ROUTES": str(ROUTES if hooked else 0),
            "BENCH_HOOKS": str(HOOKS if hooked else 0),
            "ROBYN_PORT": str(self.port),
        }


@dataclasses.dataclass(frozen=True)
class Peer:
    name: str
    title: str
    letters: str  # of its workloads
    command: Callable[[Start], list[str]]
    packages: tuple[str, ...] = ()  # distributions that it needs, the first is the server
    tool: str = ""  # a program that it needs
    out: dict[str, str] = dataclasses.field(default_factory=dict)

    def takes(self, load: workloads.Workload) -> bool:
        return load.letter in self.letters

    def why_not(self, load: workloads.Workload) -> str | None:
        return self.out.get(load.name, self.out.get(load.letter))


def reference(start: Start) -> list[str]:
    assert start.load is not None
    command = [str(start.folder / ("epoll_server_tls" if start.tls else "epoll_server")), "-p", str(start.port)]
    command += ["-a", str(start.folder / f"answer-{start.load.name}"), "-b", str(start.load.upload)]
    return command + (["-c", start.pair[0], "-k", start.pair[1]] if start.tls else [])


def ours(start: Start, *, routes: bool = True, hooks: bool = True) -> list[str]:
    cert, key = (start.folder / "cert.pem", start.folder / "key.pem") if start.tls else (None, None)
    hooked, crowded = start.setting == workloads.HOOKED, start.setting == workloads.CROWDED
    options = harness.AppOptions(
        cert=cert,
        key=key,
        folder=start.folder / "static",
        routes=ROUTES if hooked and routes else None,
        hooks=HOOKS if hooked and hooks else None,
        connections=10_100 if crowded else None,
        idle_timeout=300 if crowded else None,
    )
    return harness.app_command(start.port, options)


def nginx(start: Start) -> list[str]:
    """Writes the configuration; every limit that would end a connection during a run is out of the way."""
    folder = start.folder / f"nginx-{start.port}"
    folder.mkdir()
    listen, tls = f"127.0.0.1:{start.port} backlog=4096", ""
    if start.tls:
        listen += " ssl"
        tls = f"ssl_certificate {start.pair[0]}; ssl_certificate_key {start.pair[1]}; ssl_protocols TLSv1.3;"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit; user {pwd.getpwuid(os.getuid()).pw_name};
events {{ worker_connections 11000; multi_accept on; }}
http {{
    access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; {temporary}
    keepalive_requests 1000000000; keepalive_timeout 300s;
    server {{
        listen {listen}; {tls}
        location = / {{ default_type "{workloads.TEXT}"; return 200 "Hello, World!"; }}
        location /static/ {{ default_type application/octet-stream; root {start.folder}; }}
    }}
}}
"""
    (folder / "nginx.conf").write_text(config)
    return [harness.need_tool("nginx", "nginx-light"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def granian(application: str, interface: str, *more: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        made = [start.python, "-m", "granian", "--interface", interface, "--host", "127.0.0.1"]
        made += ["--port", str(start.port), "--workers", "1", "--runtime-mode", "mt", "--http", "1", "--no-ws"]
        made += ["--loop", "uvloop", "--no-access-log", "--log-level", "error", "--backlog", "4096", *more]
        made += ["--static-path-route", "/static", "--static-path-mount", str(start.folder / "static")]
        if start.tls:
            made += ["--ssl-certificate", start.pair[0], "--ssl-keyfile", start.pair[1]]
        return [*made, application]

    return command


def uvicorn(start: Start) -> list[str]:
    made = [start.python, "-m", "uvicorn", "asgi_app:application", "--host", "127.0.0.1", "--port", str(start.port)]
    made += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error", "--lifespan", "off"]
    made += ["--ws", "none", "--backlog", "4096", "--timeout-keep-alive", "300"]
    return made + (["--ssl-certfile", start.pair[0], "--ssl-keyfile", start.pair[1]] if start.tls else [])


def script(name: str, *before: str) -> Callable[[Start], list[str]]:
    return lambda start: [start.python, str(APPS / name), *before, str(start.port), *start.pair]


def robyn(start: Start) -> list[str]:
    made = [start.python, str(APPS / "serve_robyn.py"), "--processes", "1", "--workers", "1"]
    return [*made, "--log-level", "ERROR", "--disable-openapi"]


PEERS = (
    Peer(REFERENCE, "C epoll server (the limit)", "ABCDEFJKL", reference),
    Peer(OURS, "**weblatch**", "ABCDEFGJKL", ours),
    Peer("ours-no-hooks", "weblatch, 100 routes, no hooks", "J", lambda start: ours(start, hooks=False)),
    Peer("ours-one-route", "weblatch, no further routes, no hooks", "J",
         lambda start: ours(start, routes=False, hooks=False)),
    Peer(NGINX, "nginx", "ABEFGL", nginx, tool="nginx"),
    Peer("granian", "granian RSGI", "ABCDEFGKL", granian("rsgi_app:application", "rsgi"), ("granian", "uvloop")),
    Peer("granian-wsgi", "granian WSGI", "ABCDEK",
         granian("wsgi_app:application", "wsgi", "--blocking-threads", "4"), ("granian", "uvloop")),
    Peer("uvicorn", "uvicorn (uvloop, httptools)", "ABCDEFKL", uvicorn, ("uvicorn", "uvloop", "httptools")),
    Peer("socketify", "socketify", "ABCDEFKL", script("serve_socketify.py"), ("socketify",)),
    Peer("fastpysgi", "fastpysgi WSGI", "ABCDEFK", script("serve_fastpysgi.py", "wsgi_app"), ("fastpysgi",)),
    Peer("falcon", "falcon on fastpysgi", "ACDJK", script("serve_fastpysgi.py", "falcon_app"),
         ("falcon", "fastpysgi")),
    Peer("bjoern", "bjoern", "ABCDK", script("serve_bjoern.py"), ("bjoern",), out={"B": "does not pipeline"}),
    Peer("aiohttp", "aiohttp (uvloop)", "ACDEJK", script("serve_aiohttp.py"), ("aiohttp", "uvloop")),
    Peer("blacksheep", "blacksheep on granian", "ACDJK", granian("blacksheep_app:application", "asgi"),
         ("blacksheep", "granian", "uvloop")),
    Peer("robyn", "robyn", "ACDK", robyn, ("robyn",)),
)  # fmt: skip


def distributions() -> Sequence[str]:
    """Everything that the peers need from PyPI, each once."""
    return list(dict.fromkeys(package for peer in PEERS for package in peer.packages))
