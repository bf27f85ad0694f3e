"""``web dev``: made anew when a file changes, on one socket, for this machine only; errors are pages."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import web
from tests.cli.conftest import Command
from tests.cli.test_serving import port_of
from tests.serving import Process, body, connect, connect_tls, process, read_all, read_answer
from tests.wire.clients import eventually
from web.cli.dev import _few

FIVE = """import web

server = web.defserver("0.0.0.0", 80, web.GET("/", lambda req: "{word}"))

server.run()
"""


@contextmanager
def developing(folder: Path, *options: str) -> Iterator[tuple[Process, int]]:
    """``web dev app.py``, and its port."""
    with process("-m", "web", "dev", "app.py", "--port", "0", *options, cwd=folder) as child:
        yield child, port_of(child.says("Serving on "))
        child.signal(signal.SIGTERM)
        assert child.finish()[0] == 0


def write(path: Path, text: str) -> None:
    """As editors do: nobody sees half of it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def ask(port: int, fields: str = "Host: localhost\r\n") -> bytes:
    with connect(port) as sock:
        sock.sendall(f"GET / HTTP/1.1\r\n{fields}Accept: text/html\r\nConnection: close\r\n\r\n".encode())
        return read_all(sock)


def test_it_is_made_anew_when_a_file_changes(tmp_path: Path) -> None:
    write(tmp_path / "app.py", FIVE.format(word="one"))
    with developing(tmp_path) as (child, port):
        assert ask(port).endswith(b"\r\n\r\none")
        write(tmp_path / "app.py", FIVE.format(word="two"))
        assert "app.py" in child.says("Changed: ")
        assert port_of(child.says("Serving on ")) == port
        assert ask(port).endswith(b"\r\n\r\ntwo")

        write(tmp_path / "app.py", FIVE.format(word="</pre>") + "x = (\n")
        assert "cannot be imported: SyntaxError" in child.says("web: app.py")
        child.says("Serving on ")
        page = ask(port)
        assert page.startswith(b"HTTP/1.1 500 ")
        assert b"SyntaxError: &#x27;(&#x27; was never closed" in page

        write(tmp_path / "app.py", FIVE.format(word="three"))
        child.says("Serving on ")
        assert ask(port).endswith(b"\r\n\r\nthree")


def test_nobody_is_refused_while_it_starts(tmp_path: Path) -> None:
    write(tmp_path / "app.py", FIVE.format(word="one"))
    with developing(tmp_path) as (_, port):
        slow = f"import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(0.3)\n{FIVE.format(word='late')}"
        write(tmp_path / "app.py", slow)
        eventually((tmp_path / "begun").exists)
        assert ask(port).endswith(b"\r\n\r\nlate")


def test_only_this_machine_and_only_by_its_names(tmp_path: Path) -> None:
    """The program asks for 0.0.0.0, and its pages show source code."""
    write(tmp_path / "app.py", FIVE.format(word="one"))
    with developing(tmp_path) as (_, port):
        if sys.platform == "linux":  # all of 127.0.0.0/8 is this machine's
            with pytest.raises(ConnectionRefusedError):
                connect(port, "127.0.0.2").close()
        assert ask(port, "Host: evil.example\r\n").startswith(b"HTTP/1.1 421 ")
        for name in (f"127.0.0.1:{port}", f"localhost:{port}", "a.localhost", "[::1]"):
            assert ask(port, f"Host: {name}\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_server_that_ends_is_started_at_the_next_change(tmp_path: Path) -> None:
    fatal = FIVE.format(word="one").replace('"one"', "__import__('os')._exit(7)")
    write(tmp_path / "app.py", fatal)
    with developing(tmp_path) as (child, port):
        assert ask(port) == b""
        child.says("The server ended (exit code 7); it starts again at the next change")
        write(tmp_path / "app.py", FIVE.format(word="two"))
        child.says("Serving on ")
        assert ask(port).endswith(b"\r\n\r\ntwo")


def test_https_by_a_throw_away_certificate(tmp_path: Path) -> None:
    write(tmp_path / "app.py", FIVE.format(word="one"))
    with developing(tmp_path, "--tls") as (_, port), connect_tls(port, str(tmp_path / ".dev/dev-cert.pem")) as sock:
        assert isinstance(sock, ssl.SSLSocket)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert body(read_answer(sock)) == b"one"


def test_others_where_they_are_asked_in(tmp_path: Path) -> None:
    """As from outside of a container: an address, and the names under which it is reached."""
    write(tmp_path / "app.py", FIVE.format(word="one"))
    options = ("--host", "0.0.0.0", "--allow-host", "dev.example", "--allow-host", "192.0.2.1")
    for more in ((), ("--no-reload",)):
        with developing(tmp_path, *options, *more) as (_, port):
            for name, status in (("dev.example", b"200"), ("192.0.2.1", b"200"), ("localhost", b"200"), ("x", b"421")):
                assert ask(port, f"Host: {name}\r\n").startswith(b"HTTP/1.1 " + status)
            if sys.platform == "linux":
                with connect(port, "127.0.0.2"):
                    pass


def test_a_program_that_redirects_to_its_https(tmp_path: Path) -> None:
    """The address with a certificate counts, whichever it is: else the redirect would lead to itself."""
    cert, key = web.dev_certificate(tmp_path)
    write(
        tmp_path / "app.py",
        "import web\nserver = web.defserver('', 80, web.GET('/', lambda req: 'safe'))\n"
        f"server.listen('', 443, web.TlsContext({cert!r}, {key!r}))\n",
    )
    with developing(tmp_path, "--no-reload") as (_, port), connect_tls(port, cert) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert body(read_answer(sock)) == b"safe"


def test_errors_are_pages(tmp_path: Path) -> None:
    write(tmp_path / "app.py", "import web\napp = web.App(web.GET('/', lambda req: 1 / 0))\n")
    with developing(tmp_path, "--no-reload") as (_, port):
        page = ask(port)
        assert page.startswith(b"HTTP/1.1 500 ")
        assert b"ZeroDivisionError" in page


def test_its_hosts_are_its_own_and_these(tmp_path: Path) -> None:
    write(tmp_path / "app.py", "import web\napp = web.App(web.hosts(['a.example']), web.GET('/', lambda req: 'x'))\n")
    with developing(tmp_path, "--no-reload") as (_, port):
        for name, status in (("localhost", b"200"), ("a.example", b"200"), ("b.example", b"421")):
            assert ask(port, f"Host: {name}\r\n").startswith(b"HTTP/1.1 " + status)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    write(tmp_path / "page.html", "one")
    program = FIVE.replace('"{word}"', "text")
    write(tmp_path / "app.py", f"import pathlib\ntext = pathlib.Path('page.html').read_text()\n{program}")
    with developing(tmp_path, "--also", "html") as (child, port):
        write(tmp_path / "page.html", "two")
        child.says("Changed: page.html")
        child.says("Serving on ")
        assert ask(port).endswith(b"\r\n\r\ntwo")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_end_is_the_childs(tmp_path: Path, number: signal.Signals) -> None:
    write(tmp_path / "app.py", "import os, web\napp = web.App(web.GET('/', lambda req: str(os.getpid())))\n")
    with process("-m", "web", "dev", "app.py", "--port", "0", cwd=tmp_path) as child:
        port = port_of(child.says("Serving on "))
        served_by = int(re.findall(rb"\d+$", ask(port))[0])
        assert served_by != child.popen.pid
        child.signal(number)
        assert child.finish()[0] == 0
    with pytest.raises(ProcessLookupError):
        os.kill(served_by, 0)
    with pytest.raises(ConnectionRefusedError):
        connect(port).close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT])
def test_no_child_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Nobody would free the port, nor know why it is taken."""
    write(tmp_path / "app.py", FIVE.format(word="one"))
    with process("-m", "web", "dev", "app.py", "--port", "0", cwd=tmp_path) as child:
        port = port_of(child.says("Serving on "))
        assert ask(port).endswith(b"one")
        child.signal(number)
        assert child.popen.wait() == (0 if number == signal.SIGHUP else -number)
        eventually(lambda: is_refused(port))


def is_refused(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_the_application_starts_does_not_keep_the_port(tmp_path: Path) -> None:
    begin = "import os\nos.system('exec sleep 60 >/dev/null 2>&1 &')\n"
    write(tmp_path / "app.py", begin + FIVE.format(word="one"))
    with process("-m", "web", "dev", "app.py", "--port", "0", cwd=tmp_path) as child:
        port = port_of(child.says("Serving on "))
        child.signal(signal.SIGTERM)
        assert child.popen.wait() == 0
        assert is_refused(port)


def test_ctrl_c_while_it_is_imported(tmp_path: Path) -> None:
    write(tmp_path / "app.py", "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)\n")
    with process("-m", "web", "dev", "app.py", "--port", "0", cwd=tmp_path) as child:
        eventually((tmp_path / "begun").exists)
        os.killpg(child.popen.pid, signal.SIGINT)  # as a terminal does
        code, out, err = child.finish()
    assert (code, out) == (0, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("moment", range(6))
def test_ctrl_c_at_any_moment(tmp_path: Path, moment: int) -> None:
    """Also while the child imports the framework."""
    write(tmp_path / "app.py", FIVE.format(word="one"))
    with process("-m", "web", "dev", "app.py", "--port", "0", cwd=tmp_path) as child:
        child.says("Watching ")
        time.sleep(moment * 0.03)
        os.killpg(child.popen.pid, signal.SIGINT)
        code, _, err = child.finish()
    assert code == 0
    assert "Traceback" not in err


def test_a_second_ctrl_c_while_it_ends(tmp_path: Path) -> None:
    hook = "pathlib.Path('stopping').touch(), time.sleep(0.5)"
    write(tmp_path / "app.py", f"import pathlib, time, web\napp = web.App(web.on_stop(lambda: ({hook})))\n")
    with process("-m", "web", "dev", "app.py", "--port", "0", cwd=tmp_path) as child:
        child.says("Serving on ")
        child.signal(signal.SIGINT)
        eventually((tmp_path / "stopping").exists)
        child.signal(signal.SIGINT)
        code, _, err = child.finish()
    assert code == 0
    assert "Traceback" not in err


def test_the_child_blocks_no_signals(tmp_path: Path) -> None:
    write(tmp_path / "app.py", f"import signal\nblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n{BLOCKED}")
    with developing(tmp_path) as (_, port):
        assert ask(port).endswith(b"\r\n\r\nset()")


BLOCKED = FIVE.replace('"{word}"', "str(blocked)")


@pytest.mark.parametrize("options", [(), ("--no-reload",)])
@pytest.mark.parametrize(
    "address",
    [
        "'127.0.0.1', proxies=web.Proxies('10.0.0.1'), proxy_protocol=True",
        "'unix:s', proxies=web.Proxies('unix', fields='forwarded')",
    ],
)
def test_a_server_that_is_behind_a_proxy(tmp_path: Path, options: tuple[str, ...], address: str) -> None:
    """There is none before this one."""
    app = "web.App(web.GET('/', lambda req: req.scheme))"
    write(tmp_path / "app.py", f"import web\nserver = web.Server({app}, {address})\n")
    with developing(tmp_path, *options) as (_, port):
        assert ask(port).endswith(b"\r\n\r\nhttp")


STREAMS = """import asyncio, pathlib, web

async def endless():
    while True:
        yield b"x"
        await asyncio.sleep(60)

async def events(req):
    return web.Response.stream(endless())

app = web.App(web.GET("/", events), web.on_stop(lambda: pathlib.Path("stopped").touch()))
"""


def test_a_stream_does_not_keep_the_old_one(tmp_path: Path) -> None:
    """It is ended, and stop hooks are called: nothing is killed."""
    write(tmp_path / "app.py", STREAMS)
    with developing(tmp_path) as (child, port), connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not sock.recv(4096).endswith(b"x\r\n"):
            pass
        write(tmp_path / "app.py", FIVE.format(word="two"))
        assert read_all(sock) == b""
        child.says("Serving on ")
        assert (tmp_path / "stopped").exists()
        assert ask(port).endswith(b"two")


def test_what_fails_at_the_start_is_a_page(tmp_path: Path) -> None:
    write(tmp_path / "app.py", "import web\ndef f(): raise OSError('no base')\napp = web.App(web.on_start(f))\n")
    with developing(tmp_path) as (child, port):
        page = ask(port)
        assert page.startswith(b"HTTP/1.1 500 ")
        assert b"the application failed: OSError: no base" in page
        assert b"line 2, in f" in page
        write(tmp_path / "app.py", FIVE.format(word="two"))
        child.says("Serving on ")
        assert ask(port).endswith(b"two")


def test_what_is_no_unicode_is_shown_too(tmp_path: Path) -> None:
    write(tmp_path / "app.py", "raise ValueError(chr(0xdcff))\n")
    with developing(tmp_path) as (_, port):
        assert rb"<h1>app.py cannot be imported: ValueError: \udcff</h1>" in ask(port)


def test_the_interpreters_options_are_the_childs(tmp_path: Path) -> None:
    write(tmp_path / "app.py", FIVE.replace('"{word}"', "str(__debug__)"))
    with process("-O", "-m", "web", "dev", "app.py", "--port", "0", cwd=tmp_path) as child:
        assert ask(port_of(child.says("Serving on "))).endswith(b"False")
        child.signal(signal.SIGTERM)
        assert child.finish()[0] == 0


def test_the_whole_package_is_watched(tmp_path: Path) -> None:
    (tmp_path / "src/shop/api").mkdir(parents=True)
    for name in ("shop", "shop/api"):
        write(tmp_path / "src" / name / "__init__.py", "")
    write(tmp_path / "src/shop/api/main.py", "from shop.other import app\n")
    write(tmp_path / "src/shop/other.py", "import web\napp = web.App()\n")
    with process("-m", "web", "dev", "src/shop/api/main.py", "--port", "0", cwd=tmp_path) as child:
        port = port_of(child.says("Serving on "))
        write(tmp_path / "src/shop/other.py", "import web\napp = web.App(web.GET('/', lambda req: 'two'))\n")
        child.says("Changed: shop/other.py")
        child.says("Serving on ")
        assert ask(port).endswith(b"two")
        child.signal(signal.SIGTERM)
        assert child.finish()[0] == 0


def test_names_of_files_command_no_terminal(tmp_path: Path) -> None:
    write(tmp_path / "app.py", FIVE.format(word="one"))
    with developing(tmp_path) as (child, _):
        (tmp_path / "a\033[2J.py").touch()
        assert child.says("Changed: ") == "Changed: a\\x1b[2J.py"


def test_few_of_many_names_are_told() -> None:
    assert _few(list("abcde")) == "a, b, c, d, e"
    assert _few(list("abcdefg")) == "a, b, c, d, e and 2 more"


# -- what keeps it from starting --------------------------------------------------------------------------------------


def test_a_port_in_use(command: Command, here: Path) -> None:
    (here / "app.py").write_text("import web\napp = web.App()\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options in ([], ["--no-reload"]):
            said = command("dev", "app.py", "--port", str(taken.getsockname()[1]), *options)
            assert said.code == 3
            assert "already does; stop it" in said.err


def test_without_watchfiles(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    said = command("dev", "app.py")
    assert said.code == 3
    assert "pip install 'weblatch[dev]', or web dev --no-reload" in said.err


def test_without_reload_what_cannot_be_imported_ends_it(command: Command, here: Path) -> None:
    (here / "app.py").write_text("x = (\n")
    said = command("dev", "app.py", "--no-reload")
    assert said.code == 3
    assert said.err.endswith("web: app.py cannot be imported: SyntaxError: '(' was never closed (app.py, line 1)\n")


@pytest.mark.parametrize("name", ["ap.py", "no/such.py"])
def test_a_file_that_is_not_there(command: Command, here: Path, name: str) -> None:
    (here / "app.py").touch()
    said = command("dev", name, "--port", "0")
    assert said.code == 3
    assert said.err.startswith(f"web: there is no file {name}")


@pytest.mark.parametrize("error", [OSError("OS file watch limit reached."), RuntimeError("what watchfiles has")])
def test_a_folder_that_cannot_be_watched(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def watch(*paths: object, **options: object) -> Iterator[None]:
        assert options["ignore_permission_denied"] is True  # one folder of root's does not end it
        yield from ()
        raise error

    monkeypatch.setattr("watchfiles.watch", watch)
    (here / "app.py").write_text("import web\napp = web.App()\n")
    said = command("dev", "app.py", "--port", "0")
    assert said.code == 3
    assert f"web: cannot watch {here}: {error}" in said.err
    assert "--no-reload" in said.err
