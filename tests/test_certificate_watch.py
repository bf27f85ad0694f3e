"""CertificateWatch: files that change are read anew, once; ends are told ahead; in a server alone and with workers."""

import http.client
import logging
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import web
from tests.tls.authorities import Authority, Pair, client
from tests.wire.clients import eventually
from web import Server, TlsContext
from web.certificate_watch import CertificateWatch, name_of
from web.reloads import reload_and_tell


class Files:
    """Paths on which certificates are put, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        self.put(self.issue("first"))

    def issue(self, name: str, **options: Any) -> Pair:
        return self.authority.issue(name, "localhost", **options)

    def put(self, pair: Pair) -> None:
        self.put_file(pair.chain, self.chain)
        self.put_file(pair.key, self.key)

    def put_file(self, source: Path, target: Path) -> None:
        temporary = self.folder / "temporary"
        temporary.write_bytes(source.read_bytes())
        temporary.replace(target)

    def context(self, **options: Any) -> TlsContext:
        context = TlsContext(self.chain, self.key, **options)
        context.load()
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def watch_of(context: TlsContext) -> tuple[CertificateWatch, list[int]]:
    reloads: list[int] = []

    def reload() -> bool:
        reloads.append(1)
        return True

    return CertificateWatch(lambda: [context], reload, 10.0), reloads


def test_nothing_changes(files: Files) -> None:
    watch, reloads = watch_of(files.context())
    for _ in range(3):
        watch.look()
    watch.look_if_due()  # it is not
    assert reloads == []


@pytest.mark.parametrize("change", ["chain", "key", "gone", "in place"])
def test_a_change_is_read_once_it_has_settled(files: Files, change: str) -> None:
    watch, reloads = watch_of(files.context())
    second = files.issue("second")
    if change == "gone":
        files.key.unlink()
    elif change == "in place":
        with files.chain.open("ab") as file:
            file.write(b"\n")
    else:
        files.put_file(*((second.chain, files.chain) if change == "chain" else (second.key, files.key)))
    watch.look()
    assert reloads == []
    watch.look()
    assert reloads == [1]
    watch.look()
    assert reloads == [1]


def test_what_goes_on_changing_is_waited_for(files: Files) -> None:
    watch, reloads = watch_of(files.context())
    for size in range(3):
        files.chain.write_bytes(b"x" * size)
        watch.look()
    assert reloads == []
    watch.look()
    assert reloads == [1]


def test_a_file_that_was_away_is_read_once_more(files: Files) -> None:
    """The time at which its name changed is all that tells it from before, and might tell another content, too."""
    watch, reloads = watch_of(files.context())
    hidden = files.folder / "hidden"
    files.key.rename(hidden)
    watch.look()
    hidden.rename(files.key)
    for _ in range(3):
        watch.look()
    assert reloads == [1]


def test_files_of_names_and_clients_are_watched(files: Files) -> None:
    other = files.issue("other")
    inner = TlsContext(other.chain, other.key, client_cert="optional", client_ca=files.authority.file)
    watch, reloads = watch_of(files.context(names={"other.example": inner}))
    for path in (other.chain, files.authority.file):
        os.utime(path, ns=(1, 1))
        watch.look()
        watch.look()
        assert reloads == [1]
        reloads.clear()


def test_a_reload_that_failed_is_tried_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    answers = [False, False, True]
    reloads: list[float] = []
    monkeypatch.setattr("web.certificate_watch.time.monotonic", lambda: now)
    context = files.context()

    def reload() -> bool:
        reloads.append(now)
        return answers.pop(0)

    watch = CertificateWatch(lambda: [context], reload, 10.0)
    os.utime(files.key, ns=(1, 1))
    while now < 2000:
        watch.look()
        now += 10
    assert reloads == [1010, 1070, 1190]


def test_a_file_that_cannot_be_seen_is_told(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    context = files.context()
    files.key.unlink()
    watch_of(context)
    assert f"the file '{files.key}' cannot be seen by this process" in caplog.text


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "said"),
    [(90, ""), (29.5, "ends in 29.5 days"), (6.5, "ends in 6.5 days"), (0.5, "ends in 0.5 days"), (-1, "has expired")],
)
def test_ends_are_told(files: Files, caplog: pytest.LogCaptureFixture, days: float, said: str) -> None:
    files.put(files.issue("ending", begins=-200, days=days))
    watch, _ = watch_of(files.context(allow_expired=True))
    watch.look()
    records = [record for record in caplog.records if record.name == "web"]
    assert len(records) == (said != "")  # and not again at the second look
    if said:
        assert f"the certificate for localhost {said}" in records[0].getMessage()
        assert records[0].levelno == (logging.ERROR if days < 0 else logging.WARNING)


def test_each_threshold_is_told(
    files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    files.put(files.issue("ending", begins=-200, days=30))
    watch, _ = watch_of(files.context())
    caplog.clear()
    for passed, told in ((20, 0), (22.9, 0), (23.1, 1), (24, 1), (29.1, 2), (29.5, 2), (30.1, 3), (40, 3)):
        monkeypatch.setattr("web.certificate_watch.time.time", lambda passed=passed: now + passed * 86400)
        watch.look()
        assert len(caplog.records) == told, passed


def test_a_short_life_is_not_told_at_once(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Of six days, say: two thirds of it have to be over."""
    for begins, told in ((-1, 0), (-3, 0), (-5, 1)):
        files.put(files.issue("short", begins=begins, days=6 + begins))
        watch_of(files.context())
        assert len(caplog.records) == told


def test_names_of_certificates(files: Files) -> None:
    files.context()
    assert name_of(files.context().certificates[0]) == "localhost"
    pair = files.authority.issue("nameless")
    assert name_of(context_of(pair).certificates[0]) == "CN=nameless"


def context_of(pair: Pair) -> TlsContext:
    context = TlsContext(pair.chain, pair.key)
    context.load()
    return context


# -- in a server -------------------------------------------------------------------------------------------------------


def shown(server: Server, asking: ssl.SSLContext) -> str:
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    with asking.wrap_socket(plain, server_hostname="localhost") as peer:
        found: Any = peer.getpeercert()
        return str(found["subject"][0][0][1])


def test_a_server_serves_what_was_put_there(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="web")
    asking = client(files.authority)
    context = TlsContext(files.chain, files.key)
    with Server(web.App(), "127.0.0.1", 0, tls=context, watch_certificates=0.02).running() as server:
        assert shown(server, asking) == "first"
        files.put(files.issue("second"))
        eventually(lambda: shown(server, asking) == "second")
        files.chain.write_text("nonsense")
        eventually(lambda: "certificates are not reloaded, the old ones stay: there is no certificate" in caplog.text)
        assert shown(server, asking) == "second"
        files.put(files.issue("third"))
        eventually(lambda: shown(server, asking) == "third")
        eventually(lambda: caplog.text.count("certificates are reloaded") >= 2)
        expired = files.issue("fourth", begins=-9, days=-1)
        files.put(expired)
        eventually(lambda: "has expired" in caplog.text)
        assert shown(server, asking) == "third"


@pytest.mark.parametrize("option", [{"watch_certificates": 0}, {}])
def test_no_thread_where_nothing_is_watched(files: Files, option: dict[str, Any]) -> None:
    tls = TlsContext(files.chain, files.key) if option else None
    with Server(web.App(), "127.0.0.1", 0, tls=tls, **option).running():
        assert not [thread for thread in threading.enumerate() if thread.name == "web certificates"]


def test_reloads_at_the_same_time_do_not_miss_each_other(files: Files) -> None:
    """Each must find the contexts of the one before, or the loop would keep an old one for ever."""
    asking = client(files.authority)
    with Server(web.App(), "127.0.0.1", 0, tls=TlsContext(files.chain, files.key)).running() as server:
        for turn in range(3):
            files.put(files.issue(f"turn{turn}"))
            threads = [threading.Thread(target=server.reload_certificates) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert shown(server, asking) == f"turn{turn}"


def test_a_signal_during_a_reload_does_not_wait_for_itself(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler runs in the thread that reloads: what it asks for is done once that is over."""
    asking = client(files.authority)
    with Server(web.App(), "127.0.0.1", 0, tls=TlsContext(files.chain, files.key)).running() as server:
        read, calls = server._listeners.read_certificates, []

        def interrupted() -> Any:
            calls.append(1)
            found = read()
            if len(calls) == 1:
                files.put(files.issue("second"))
                server.reload_certificates()
            return found

        monkeypatch.setattr(server._listeners, "read_certificates", interrupted)
        server.reload_certificates()
        assert len(calls) == 2
        assert shown(server, asking) == "second"


def test_nothing_that_a_reload_raises_goes_further(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert not reload_and_tell(fail)
    assert "certificates are not reloaded, the old ones stay" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_metrics_tell_when_certificates_end(files: Files) -> None:
    pair = files.issue('odd"\\name')
    inner = TlsContext(pair.chain, pair.key)
    context = TlsContext(files.chain, files.key, names={"odd.example": inner})
    with Server(web.App(web.metrics()), "127.0.0.1", 0, tls=context).running() as server:
        asking = client(files.authority)
        connection = http.client.HTTPSConnection("localhost", server.port, context=asking)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    ends = [certificate.not_after.timestamp() for certificate in context.certificates]
    lines = [line for line in text.splitlines() if line.startswith("weblatch_tls_certificate_not_after_seconds{")]
    assert len(lines) == 2
    assert [float(line.rpartition(" ")[2]) for line in lines] == ends


@pytest.mark.parametrize("value", [-1, float("nan"), 1e7])
def test_watch_certificates_is_checked(value: Any) -> None:
    with pytest.raises(ValueError, match="watch_certificates="):
        Server(web.App(), "127.0.0.1", 0, watch_certificates=value)
