"""Addresses: what they say, what they bind, and how their failures read."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

import web
from web.sockets import Address, ListenError, remove_unix_file, url_of


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((8080, 80), TypeError, "host: text is needed"),
        ((None, 80), TypeError, "not NoneType"),
        (("127.0.0.1", "80"), TypeError, "port: an int is needed, not str"),
        (("127.0.0.1", True), TypeError, "port: an int is needed, not bool"),
        (("127.0.0.1", 80.0), TypeError, "port: an int is needed, not float"),
        (("127.0.0.1", -1), ValueError, "a port is 0 to 65535"),
        (("127.0.0.1", 65536), ValueError, "a port is 0 to 65535"),
        (("fd:", 0), ValueError, "like 'fd:3'"),
        (("fd:99999999999999999999", 0), ValueError, "like 'fd:3'"),
        (("unix:", 0), ValueError, "like 'unix:/run/app.sock'"),
        (("unix:/tmp/\0x", 0), ValueError, "NUL"),
        (("127.0.0.1", 80, True), ValueError, "dual_stack goes with host '::'"),
    ],
)
def test_what_is_no_address_is_refused_at_once(
    arguments: tuple[object, ...], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        Address(*arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_port_0_is_chosen_by_the_system() -> None:
    with Address("127.0.0.1", 0).bind() as sock:
        assert sock.getsockname()[1] > 0
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_all_ipv4(host: str) -> None:
    with Address(host, 0).bind() as sock:
        assert sock.family == socket.AF_INET
        assert sock.getsockname()[0] == "0.0.0.0"
        assert url_of(sock, tls=False) == f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_a_host_name_is_resolved() -> None:
    with Address("localhost", 0).bind() as sock:
        assert sock.getsockname()[0] in ("127.0.0.1", "::1")


@needs_ipv6
def test_ipv6_alone_unless_said_otherwise() -> None:
    with Address("::", 0).bind() as sock:
        port = sock.getsockname()[1]
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        assert url_of(sock, tls=True) == f"https://[::1]:{port}"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)


@needs_ipv6
def test_dual_stack_is_said() -> None:
    with Address("::", 0, dual_stack=True).bind() as sock:
        port = sock.getsockname()[1]
        assert not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=10).close()


def test_a_port_in_use() -> None:
    with Address("127.0.0.1", 0).bind() as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            Address("127.0.0.1", port).bind()
    assert caught.value.errno == errno.EADDRINUSE
    assert isinstance(caught.value, web.WebError)
    assert isinstance(caught.value, OSError)
    assert f"127.0.0.1:{port}: this process itself already does" in str(caught.value)


def test_a_port_is_free_again_while_old_connections_wait_out_their_time() -> None:
    """SO_REUSEADDR: the side that closed first is in TIME_WAIT, and a restart must not wait for that."""
    with Address("127.0.0.1", 0).bind() as sock:
        port = sock.getsockname()[1]
        sock.setblocking(True)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            served, _ = sock.accept()
            served.close()
            assert client.recv(1) == b""
    Address("127.0.0.1", port).bind().close()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no-such-host.invalid", "the host name is not known here"),
        ("192.0.2.1", "this machine has no such address"),
        ("a" * 70, "no"),
        ("a..b", "no"),
    ],
)
def test_a_host_that_cannot_be_bound(host: str, words: str) -> None:
    with pytest.raises(ListenError) as caught:
        Address(host, 0).bind()
    assert host in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the tests may run as root, and some systems let everybody have port 80."""

    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    class Refused(socket.socket):
        bind = refuse

    monkeypatch.setattr(socket, "socket", Refused)
    with pytest.raises(ListenError, match=r"127\.0\.0\.1:80: not permitted; ports below 1024 need "):
        Address("127.0.0.1", 80).bind()
    with pytest.raises(ListenError, match=r"unix:/x\.sock: not permitted; choose a folder"):
        Address("unix:/x.sock", 0).bind()


# -- Unix sockets ------------------------------------------------------------------------------------------------------


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Address(f"unix:{path}", 0).bind() as sock:
        assert stat.S_ISSOCK(path.lstat().st_mode)
        assert url_of(sock, tls=False) == f"http+unix:{path}"


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    assert path.exists()
    with Address(f"unix:{path}", 0).bind(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_unix_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Address(f"unix:{path}", 0).bind():
        with pytest.raises(ListenError, match="another process already does") as caught:
            Address(f"unix:{path}", 0).bind()
        assert caught.value.errno == errno.EADDRINUSE
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_live_unix_socket_with_a_full_queue_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s"
    clients = []
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(1)
        try:
            for _ in range(20):
                client = socket.socket(socket.AF_UNIX)
                clients.append(client)
                client.setblocking(False)
                if client.connect_ex(str(path)) == errno.EAGAIN:
                    break
            with pytest.raises(ListenError, match="another process already does"):
                Address(f"unix:{path}", 0).bind()
            assert path.exists()
        finally:
            for client in clients:
                client.close()


def test_a_file_in_the_way_of_a_unix_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ListenError, match="the path exists and is no socket"):
        Address(f"unix:{path}", 0).bind()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["missing/s", "x" * 200])
def test_a_path_that_cannot_be_a_unix_socket(tmp_path: Path, name: str) -> None:
    with pytest.raises(ListenError) as caught:
        Address(f"unix:{tmp_path / name}", 0).bind()
    assert str(tmp_path / name) in str(caught.value)
    assert "None" not in str(caught.value)


def test_a_unix_file_is_removed_only_by_who_bound_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()
    inode = path.stat().st_ino
    remove_unix_file(str(path), inode + 1)
    assert path.exists()
    remove_unix_file(str(path), inode)
    assert not path.exists()
    remove_unix_file(str(path), inode)


# -- inherited sockets -------------------------------------------------------------------------------------------------


def test_an_inherited_socket_is_duplicated_and_stays_its_owners() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        with Address(f"fd:{given.fileno()}", 0).bind() as sock:
            assert sock.fileno() != given.fileno()
            assert sock.getsockname() == given.getsockname()
            assert not sock.getblocking()
        assert given.getsockname()[1] > 0
        Address(f"fd:{given.fileno()}", 0).bind().close()


def test_an_inherited_socket_that_does_not_listen() -> None:
    with socket.socket() as given:
        with pytest.raises(ListenError, match="does not listen"):
            Address(f"fd:{given.fileno()}", 0).bind()
        assert given.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM


def test_an_inherited_number_that_is_no_socket() -> None:
    with open(os.devnull, "rb") as file:
        with pytest.raises(ListenError, match="no socket was inherited under that number"):
            Address(f"fd:{file.fileno()}", 0).bind()
        assert file.read() == b""
    with pytest.raises(ListenError, match="no socket was inherited under that number"):
        Address("fd:1000000", 0).bind()
