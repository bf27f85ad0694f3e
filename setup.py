"""Build the one extension, web._core, from src/web/_core.pyx and its parts; everything else is in pyproject.toml.

Read from the environment:
  WEB_OPENSSL_DIR     folder with include/ and lib/libssl.a, lib/libcrypto.a, which are then linked statically
  WEB_WERROR=1        the C compiler's warnings are errors
  WEB_CYTHON_TRACE=1  line events for coverage
  CC, CFLAGS, LDFLAGS as usual; a CFLAGS that asks for a sanitizer also chooses optimisation and hardening
"""

import os
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MACOS = platform.system() == "Darwin"
TRACE = os.environ.get("WEB_CYTHON_TRACE") == "1"
PARTS = sorted(str(path) for pattern in ("*.pxi", "*.h") for path in Path("src/web").glob(pattern))

INSTALL = """Install what is missing and try again:
  Debian, Ubuntu  apt-get install gcc libssl-dev zlib1g-dev python3-dev pkg-config
  Fedora          dnf install gcc openssl-devel zlib-devel python3-devel pkgconf
  Alpine          apk add build-base openssl-dev zlib-dev python3-dev pkgconf
  macOS           xcode-select --install; brew install openssl@3
Another OpenSSL: set WEB_OPENSSL_DIR to a folder with include/ and lib/libssl.a, lib/libcrypto.a."""

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "auto_pickle": False,
    "autotestdict": False,
    "warn.unused": True,
    "warn.maybe_uninitialized": True,
    "warn.unused_result": True,
    "linetrace": TRACE,
}


def output(command: list[str], text: str = "") -> str | None:
    """What the command prints when it is given the text, or None when it is not there or fails."""
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def c_flags() -> list[str]:
    """Cython's C passes -Wextra, but for type tables that lack the newest Python's last field (seen: 3.15)."""
    flags = ["-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-missing-field-initializers"]
    if os.environ.get("WEB_WERROR") == "1":
        flags.append("-Werror")
    if TRACE:  # with sys.monitoring (Python 3.13 and later) coverage would be silently empty
        flags += ["-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1", "-DCYTHON_USE_SYS_MONITORING=0"]
    if "-fsanitize" not in os.environ.get("CFLAGS", ""):
        flags += ["-O2", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
        if platform.machine() == "x86_64" and not MACOS:
            flags.append("-fcf-protection")  # compilers for other processors refuse it
    return flags


def link_flags() -> list[str]:
    """Export PyInit__core only: a static OpenSSL must not be mixed up with the one of Python's ssl module."""
    if MACOS:
        return ["-Wl,-exported_symbol,_PyInit__core"]
    return ["-Wl,--version-script=tools/exports.map", "-Wl,-z,relro,-z,now"]


def openssl_flags() -> tuple[list[str], list[str]]:
    """How to compile and how to link with OpenSSL; whether its headers are there at all, missing() finds out."""
    if folder := os.environ.get("WEB_OPENSSL_DIR"):
        lib = Path(folder, "lib64" if Path(folder, "lib64/libssl.a").exists() else "lib")
        archives = [str(lib / "libssl.a"), str(lib / "libcrypto.a")]
        if not all(Path(path).exists() for path in [f"{folder}/include/openssl/ssl.h", *archives]):
            raise SystemExit(f"WEB_OPENSSL_DIR={folder} lacks include/openssl/ssl.h, lib/libssl.a or lib/libcrypto.a")
        return [f"-I{folder}/include"], [*archives, *([] if MACOS else ["-ldl", "-pthread"])]
    cflags, libs = (output(["pkg-config", what, "openssl"]) for what in ("--cflags", "--libs"))
    if cflags is not None and libs is not None:
        return shlex.split(cflags), shlex.split(libs)
    for prefix in ("/opt/homebrew/opt/openssl@3", "/usr/local/opt/openssl@3") if MACOS else ():
        if Path(prefix, "include/openssl/ssl.h").exists():  # Homebrew's is keg-only: on nobody's search path
            return [f"-I{prefix}/include"], [f"-L{prefix}/lib", "-lssl", "-lcrypto"]
    return [], ["-lssl", "-lcrypto"]


def missing(compiler: list[str]) -> str | None:
    """Name the first thing that the build needs and that this machine lacks."""
    version = "#include <openssl/ssl.h>\n#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error\n#endif\n"
    needs = {
        f"no C compiler ({compiler[0]}; set CC to name another)": "",
        f"no header files of Python {platform.python_version()} (Python.h)": "#include <Python.h>\n",
        "no header files of OpenSSL 3.0 or newer (openssl/ssl.h)": version,
        "no header files of zlib (zlib.h)": "#include <zlib.h>\n",
    }
    return next((what for what, text in needs.items() if output([*compiler, "-E", "-xc", "-"], text) is None), None)


class BuildCore(build_ext):
    def build_extension(self, ext: Any) -> None:
        from Cython.Compiler import Options

        cflags, libs = openssl_flags()
        if problem := missing([*self.compiler.compiler_so, *(f"-I{path}" for path in self.include_dirs), *cflags]):
            raise SystemExit(f"weblatch cannot be built here: {problem}. {INSTALL}")
        Options.warning_errors = True
        self.force = True  # nothing below notices when flags change; whether to build at all is make's decision
        ext.cython_directives = DIRECTIVES
        ext.extra_compile_args = c_flags() + cflags
        ext.extra_link_args = [*link_flags(), *libs, "-lz"]
        super().build_extension(ext)


CORE = Extension("web._core", ["src/web/_core.pyx"], depends=[*PARTS, "tools/exports.map"])
setup(ext_modules=[CORE], cmdclass={"build_ext": BuildCore})
