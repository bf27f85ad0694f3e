"""user= and group=: who the process is once it serves, and what is refused."""

from __future__ import annotations

import grp
import os
import pwd
import signal
from pathlib import Path

import pytest

import web
from tests.serving import fetch, process, program
from web.privileges import Identity, identity

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")

NOBODY = pwd.getpwnam("nobody")

# Says who it is, by the system's own list of the process, and tries to become root again. Arguments: options, more.
SERVER = """
import os, sys, web

def ids(req):
    try:
        os.setuid(0)
        back = "root again"
    except PermissionError:
        back = "no way back"
    uids = os.getresuid() if hasattr(os, "getresuid") else (os.getuid(), os.geteuid())
    gids = os.getresgid() if hasattr(os, "getresgid") else (os.getgid(), os.getegid())
    return f"{uids} {gids} {sorted(os.getgroups())} {back}"

server = web.defserver("127.0.0.1", 0, web.GET("/", ids), **eval(sys.argv[1]))
exec(sys.argv[2])
server.open()
print(server.port, flush=True)
server.run()
print(os.getuid(), flush=True)
"""


def expected(uid: int, gid: int, groups: list[int]) -> str:
    count = 3 if hasattr(os, "getresuid") else 2
    return f"{(uid,) * count} {(gid,) * count} {sorted(groups)} no way back"


@as_root
@pytest.mark.parametrize("workers", [0, 1])
def test_requests_are_answered_as_that_user(workers: int) -> None:
    options = f"{{'user': 'nobody', 'workers': {workers}}}"
    with process(*program(SERVER, options, "")) as child:
        port = int(child.line())
        child.ready()
        groups = os.getgrouplist("nobody", NOBODY.pw_gid)
        assert fetch(port) == expected(NOBODY.pw_uid, NOBODY.pw_gid, groups)
        child.signal(signal.SIGTERM)
        # the master stays root; without one there is nobody but the process itself
        assert child.finish() == (0, f"{0 if workers else NOBODY.pw_uid}\n", "")


@as_root
@pytest.mark.parametrize(
    ("user", "group", "expects"),
    [
        ("12345", "23456", expected(12345, 23456, [23456])),
        ("12345", repr(grp.getgrgid(0).gr_name), expected(12345, 0, [0])),
        ("'nobody'", "23456", expected(NOBODY.pw_uid, 23456, os.getgrouplist("nobody", 23456))),
    ],
)
def test_numbers_and_another_group(user: str, group: str, expects: str) -> None:
    with process(*program(SERVER, f"{{'user': {user}, 'group': {group}}}", "")) as child:
        port = int(child.line())
        child.ready()
        assert fetch(port) == expects


@as_root
@pytest.mark.parametrize("workers", [0, 1])
def test_keys_are_read_and_unix_sockets_given_away_before(tmp_path: Path, workers: int) -> None:
    """A key that only root can read; a socket that belongs to the user. With a master it can be removed by root."""
    tmp_path.chmod(0o755)
    cert, key = web.dev_certificate(tmp_path)
    Path(key).chmod(0o600)
    more = f"""
server.listen("127.0.0.1", 0, web.TlsContext({cert!r}, {key!r}))
server.listen("unix:{tmp_path}/s")
"""
    with process(*program(SERVER, f"{{'user': 'nobody', 'workers': {workers}}}", more)) as child:
        child.line()
        if workers == 0:  # nobody cannot look into root's folder; a master can
            for path in (cert, key):
                child.says(f"the file {path!r} cannot be seen by this process")
        child.ready()
        assert (tmp_path / "s").stat().st_uid == NOBODY.pw_uid
        child.signal(signal.SIGTERM)
        status, _, err = child.finish()
        assert (status, err) == (0, "")
    assert (tmp_path / "s").exists() == (workers == 0)


@as_root
def test_with_a_master_keys_of_root_can_be_reloaded(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    cert, key = web.dev_certificate(tmp_path)
    more = f"""
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
server.listen("127.0.0.1", 0, web.TlsContext({cert!r}, {key!r}))
"""
    for workers, said in ((1, "certificates are reloaded"), (0, "the old ones stay: the certificate file ")):
        with process(*program(SERVER, f"{{'user': 'nobody', 'workers': {workers}}}", more)) as child:
            child.line()
            child.says("Serving on ")
            child.signal(signal.SIGUSR1)
            child.says(said)


@as_root
def test_every_way_to_run_changes_the_user_or_refuses() -> None:
    code = """
import os, web
server = web.defserver("127.0.0.1", 0, user="nobody")
server.open()
for turn in (server.fileno, server.run_once):
    try:
        turn()
    except RuntimeError as error:
        print(error)
server.close()
print(os.getuid())
with server.running():
    print(os.getuid())
"""
    with process(*program(code)) as child:
        status, out, err = child.finish()
    assert (status, err) == (0, "")
    refusal = "user= goes with run(), running() and run_async(): turned by others, it would not be changed"
    assert out.splitlines() == [refusal, refusal, "0", str(NOBODY.pw_uid)]


@as_root
def test_a_change_that_did_not_happen_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is made to do nothing, and to fail: nothing is served either way."""
    target = Identity(NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for call in ("setgroups", "setgid", "setuid"):
        with monkeypatch.context() as patch:
            for name in ("setgroups", "setgid", "setuid"):
                patch.setattr(os, name, lambda *_: None)
            patch.setattr(os, call, refuse)
            with pytest.raises(web.WebError, match=r"not permitted here \(Operation not permitted\)"):
                target.assume()
    with monkeypatch.context() as patch:
        for name in ("setgroups", "setgid", "setuid"):
            patch.setattr(os, name, lambda *_: None)
        with pytest.raises(web.WebError, match="still somebody else"):
            target.assume()
        patch.setattr(Identity, "is_current", lambda self: True)
        with pytest.raises(web.WebError, match="root's rights can still be had again"):
            target.assume()


# -- what is refused at the start --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "group", "words"),
    [
        ("no-such-user", None, "user='no-such-user': there is no such user on this machine"),
        (-1, None, "user=-1: there is no such user"),
        (2**40, None, "there is no such user"),
        (54321, None, "user=54321 has no entry among the users; give its group= too"),
        ("nobody", "no-such-group", "group='no-such-group': there is no such group on this machine"),
        ("nobody", -1, "group=-1: there is no such group"),
        (None, "nogroup", "group='nogroup' goes with user=; give both"),
    ],
)
def test_unknown_names_are_errors_at_the_start(user: str | int | None, group: str | int | None, words: str) -> None:
    server = web.defserver("127.0.0.1", 0, user=user, group=group)
    with pytest.raises(web.WebError, match=words.replace("(", r"\(")):
        server.check()


def test_nobody_is_named() -> None:
    assert identity(None, None) is None


@not_root
def test_only_root_becomes_somebody_else() -> None:
    with pytest.raises(web.WebError, match="only root can become another user"):
        web.defserver("127.0.0.1", 0, user=0, group=0).check()


@as_root
def test_without_root_only_the_same_user_is_taken() -> None:
    code = """
import encodings.idna, os, web  # once root is gone, the interpreter's own files may be out of reach
os.setgroups([]); os.setgid(12345); os.setuid(12345)
web.defserver("127.0.0.1", 0, user=12345, group=12345).check()
with web.defserver("127.0.0.1", 0, user=12345, group=12345).running():
    print(os.getuid())
try:
    web.defserver("127.0.0.1", 0, user="nobody").check()
except web.WebError as error:
    print(error)
"""
    with process(*program(code)) as child:
        status, out, err = child.finish()
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "12345",
        "user='nobody': only root can become another user; start as root, or leave user= and group= away",
    ]
