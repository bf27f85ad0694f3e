# Dispatcher: an App in the form in which it answers: before hooks -> route -> handler -> coercion -> after hooks.
#
# Immutable and made once, when a server starts; it may answer for several connections and listeners. Which arguments a
# handler takes was decided at registration, so answering is a direct call. Without hooks no hook costs anything.
#
# What leaves respond() and error(): a Response, always, whatever the application does. An exception becomes HTTPError's
# status or 500 with a log record; only KeyboardInterrupt and SystemExit go through as NULL.
# After hooks see every answer, the framework's own errors included; a hook that fails is replaced by a 500, and those
# after it still run.

cimport cython
from cpython.object cimport PyObject

from logging import getLogger as _getLogger
from traceback import format_exception as _format_exception
from types import AsyncGeneratorType as _AsyncGeneratorType, CoroutineType as _CoroutineType
from collections.abc import Iterator as _Iterator

from web.errors import reason_phrase as _reason_phrase

cdef object _log = _getLogger("web")
cdef enum:
    SHOWN_MAX = 80      # characters of a foreign value in a message


@cython.final
cdef class Hook:
    """A before or after hook, compiled: the callable, how many arguments it takes, how messages name it."""
    cdef readonly object call
    cdef readonly str label
    cdef int arity

    def __init__(self, call, int arity, str label not None):
        self.call = call
        self.arity = arity
        self.label = label


@cython.final
@cython.no_gc_clear
cdef class Dispatcher:
    """The compiled, immutable form of an App; ``App._compile()`` makes it.

    ``router``; ``before`` and ``after``: tuples of Hook; ``folders``: callables ``(request) -> Response or None``,
    tried in order for GET and HEAD when no route matches; ``dumps`` and ``loads``: App(json=...)'s, or None for the
    standard library's; ``dev``: tracebacks are shown to the client.
    """
    cdef readonly object app
    cdef readonly Router router
    cdef readonly bint dev
    cdef tuple before           # None when there are none
    cdef tuple after
    cdef tuple folders
    cdef object dumps           # None: the standard library's
    cdef object loads

    def __init__(self, Router router not None, *, app=None, tuple before=None, tuple after=None, tuple folders=(),
                 dumps=None, loads=None, bint dev=False):
        self.router = router
        self.app = app
        self.before = before or None
        self.after = after or None
        self.folders = folders
        self.dumps = dumps
        self.loads = _json_loads if loads is None else loads
        self.dev = dev

    # ---- the two ways in ----

    cpdef Response respond(self, Request request):
        """The answer to a request. Raises only KeyboardInterrupt and SystemExit; all else is a 500."""
        cdef Response response
        if request is None or request.head == NULL:
            raise _unbound()
        request.dispatcher = self
        if self.dumps is not None:
            return self._respond_with_json(request)
        try:
            response = self._answer(request)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:       # asyncio.CancelledError and its like out of a plain handler are its failure, too
            response = self._failure(request, _current_exception(), "handling")
        if self.after is not None:
            response = self._after(request, response)
        return response

    cpdef Response error(self, Request request, int status, str reason):
        """The framework's own error answer; ``reason``: what was wrong, for the client, or None. ``request`` may be
        None: then nothing was parsed and no hook runs."""
        cdef Response response = self._plain(status, reason)
        if request is not None and request.head != NULL and self.after is not None:
            request.dispatcher = self
            response = self._after(request, response)
        return response

    cdef Response _respond_with_json(self, Request request):
        """respond() with Response.json() speaking the App's JSON."""
        cdef Response response
        token = _json_dumps.set(self.dumps)
        try:
            try:
                response = self._answer(request)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                response = self._failure(request, _current_exception(), "handling")
            if self.after is not None:
                response = self._after(request, response)
        finally:
            _json_dumps.reset(token)
        return response

    # ---- the steps ----

    cdef Response _answer(self, Request request):
        cdef Endpoint endpoint
        cdef Hook hook
        if self.before is not None:
            for hook in self.before:
                result = hook.call(request, request.get_params()) if hook.arity == 2 else hook.call(request)
                if result is not None:
                    return self._coerce(result, "before hook", hook.label, None)
        endpoint = self.router.route(
            request.parsed.method, request.head + request.parsed.method_at, request.parsed.method_len,
            request.head + request.parsed.path_at, request.parsed.path_len)
        if endpoint is None:
            return self._unrouted(request)
        request.endpoint = endpoint
        if request._params is not None:         # a hook asked for it; otherwise it is filled when it is asked for
            endpoint.fill(request)
        if endpoint.with_params:
            result = endpoint.handler(request, request.get_params())
        else:
            result = endpoint.handler(request)
        if type(result) is Response:
            return <Response>result
        return self._coerce(result, "handler", endpoint.label, endpoint)

    cdef Response _unrouted(self, Request request):
        """Static folders; then what RFC 9110 says of a target without the method, or without anything."""
        cdef int method = request.parsed.method
        cdef const char* path = request.head + request.parsed.path_at
        cdef uint64_t methods
        cdef bint everything = request.parsed.path_len == 1 and path[0] == c'*'
        if method == METHOD_GET or method == METHOD_HEAD:
            for folder in self.folders:
                response = folder(request)
                if response is not None:
                    return response
        methods = self.router.known if everything else self.router.allowed(path, request.parsed.path_len)
        if self._in_folder(request, method, everything):
            methods |= <uint64_t>1 << METHOD_GET
        if methods == 0 and not everything:
            return self._plain(404, None)
        if method == METHOD_OPTIONS:                                # 9.3.7
            return _make_response(_NO_LINES, self._allow_line(methods), 204, None)
        if self._is_unknown(request):                               # 15.6.2: known for no resource
            return self._plain(501, f"the method {request.method} is not implemented")
        response = self._plain(405, None)                           # 15.5.6
        (<Response>response)._head += self._allow_line(methods)     # nobody else has it yet
        return response

    cdef bint _in_folder(self, Request request, int method, bint everything) except -1:
        """Whether a static folder would answer a GET for this path; for GET and HEAD that was tried before."""
        if method == METHOD_GET or method == METHOD_HEAD:
            return False
        if everything:
            return len(self.folders) > 0
        for folder in self.folders:
            if folder(request) is not None:
                return True
        return False

    cdef bint _is_unknown(self, Request request) except -1:
        cdef int method = request.parsed.method
        cdef uint64_t bit
        if METHOD_GET <= method <= METHOD_OPTIONS:
            return False
        bit = self.router.method_bit(method, request.head + request.parsed.method_at, request.parsed.method_len)
        return self.router.known & bit == 0

    cdef bytes _allow_line(self, uint64_t methods):
        return _field_line("Allow", self.router.allow(methods))

    cdef Response _after(self, Request request, Response response):
        cdef Hook hook
        for hook in self.after:
            try:
                result = hook.call(request, request.get_params(), response)
                if type(result) is not Response:
                    raise TypeError(f"after hook {hook.label} returned {_shown(result)}: an after hook returns the "
                                    "Response that it was given, or another one")
                response = <Response>result
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                response = self._failure(request, _current_exception(), f"after hook {hook.label}, handling")
        return response

    # ---- values into Responses ----

    cdef Response _coerce(self, result, str kind, str label, Endpoint endpoint):
        """What a handler may return (design, Python layer 3). TypeError names handler and route for all else."""
        cdef Response response = self._body_response(result)
        if response is not None:
            return response
        if isinstance(result, tuple) and 2 <= len(result) <= 3:
            response = self._body_response(result[0])
            if response is not None and type(result[0]) is not Response and _is_status(result[1]):
                headers = result[2] if len(result) == 3 else None
                return _make_response(response._body, response._head, result[1], headers)
        where = f"{kind} {label}" if endpoint is None else f"{kind} {label} of route {endpoint.pattern}"
        raise TypeError(f"{where} returned {_shown(result)}: {_advice(result)}")

    cdef Response _body_response(self, result):
        """The Response for a value that is a body by itself; None for any other value."""
        if isinstance(result, Response):
            return <Response>result
        if isinstance(result, str):
            return _make_response(PyUnicode_AsUTF8String(result), _TEXT_LINE, 200, None)
        if isinstance(result, (dict, list)):
            return _make_response(_json_body(result), _JSON_LINE, 200, None)
        if isinstance(result, bytes):
            return _make_response(result, _BYTES_LINE, 200, None)
        return None

    # ---- errors ----

    cdef Response _plain(self, int status, str reason):
        text = _reason_phrase(status) if reason is None else f"{_reason_phrase(status)}: {reason}"
        return _make_response(PyUnicode_AsUTF8String(text), _TEXT_LINE, status, None)

    cdef Response _failure(self, Request request, exc, str doing):
        """The answer to an exception; it never fails itself for an Exception."""
        cdef Endpoint endpoint = request.endpoint
        try:
            if isinstance(exc, HTTPError):
                return _make_response(exc.detail.encode("utf-8", "replace"), _TEXT_LINE, exc.status, exc.headers)
            handler = "no route" if endpoint is None else f"handler {endpoint.label}, route {endpoint.pattern}"
        except Exception:       # its headers cannot be sent
            exc = _current_exception()
            handler = "HTTPError"
        try:
            # raw_path: the decoded one could hold line ends, and forge a record
            _log.error("%s %s %s (%s): %s", doing, request.method, request.raw_path, handler, type(exc).__name__,
                       exc_info=exc)
        except Exception:       # a log that fails does not decide whether a request is answered
            tell_unraisable(_current_exception())
        if self.dev:
            text = "".join(_format_exception(exc))
            return _make_response(text.encode("utf-8", "backslashreplace"), _TEXT_LINE, 500, None)
        return self._plain(500, None)

    # ---- measuring ----

    def repeat(self, Request request not None, Py_ssize_t n):
        """Answers n copies of a request in C, each bound afresh as a server does it, for measuring; the last answer."""
        cdef Request copy
        cdef Response response = None
        if request.head == NULL:
            raise _unbound()
        for _ in range(n):
            copy = <Request>Request.__new__(Request)
            copy.bind(request.connection, request.head, &request.parsed, request.body_data, request.body_len)
            response = self.respond(copy)
            copy.unbind()
        return response


cdef bint _is_status(object value) noexcept:
    return isinstance(value, int) and not isinstance(value, bool)


cdef str _shown(object value):
    """A value for a message: its type, and as much of it as fits."""
    if value is None:
        return "None"
    try:
        text = repr(value)
    except Exception:
        text = "?"
    if len(text) > SHOWN_MAX:
        text = text[:SHOWN_MAX] + "..."
    return f"{type(value).__name__} ({text})"


cdef str _advice(object result):
    if result is None:
        return "return a Response; for an answer without a body, Response.empty()"
    if isinstance(result, (_CoroutineType, _AsyncGeneratorType)):
        if isinstance(result, _CoroutineType):
            result.close()              # else Python warns that it was never awaited
        return "async handlers are not supported by this version; write a plain def"
    if isinstance(result, _Iterator):
        return "streaming is not supported by this version; return the whole body, or Response.file(path)"
    if isinstance(result, tuple):
        return ("a tuple is (body, status) or (body, status, headers), with a body of str, bytes, dict or list; "
                "for a Response use with_status() and with_header()")
    if isinstance(result, (bytearray, memoryview)):
        return "return bytes(value) or Response.bytes(value)"
    return "return a Response, str, bytes, dict or list; Response.json(value) writes other values as JSON"
