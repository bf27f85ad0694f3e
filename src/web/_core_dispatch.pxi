# Dispatcher: an App in the form in which it answers: before hooks -> route -> handler -> coercion -> after hooks.
#
# Immutable and made once, when a server starts; it may answer for several connections and listeners. Which arguments a
# handler takes was decided at registration, so answering is a direct call. Without hooks no hook costs anything.
#
# How it is run is told by mode_of: within the turn, in a Task of asyncio (where the handler or any hook is async), or
# in a thread of the pool (where it may block). respond_at is the pipeline of the first and the last, run_task of the
# second.
#
# What leaves respond() and error(): a Response, always, whatever the application does. An exception becomes HTTPError's
# status or 500 with a log record; only KeyboardInterrupt and SystemExit go through as NULL.
# After hooks see every answer, the framework's own errors included; a hook that fails is replaced by a 500, and those
# after it still run.

cimport cython
from cpython.object cimport PyObject

from logging import getLogger as _getLogger
from traceback import format_exception as _format_exception
from types import CoroutineType as _CoroutineType
from collections.abc import Iterator as _Iterator

from web.errors import reason_phrase as _reason_phrase

cdef object _log = _getLogger("web")
cdef enum:
    SHOWN_MAX = 80      # characters of a foreign value in a message

cdef enum Mode:
    MODE_INLINE = 1     # within the turn
    MODE_TASK = 2       # in a Task of asyncio
    MODE_POOL = 3       # in a thread of the pool


@cython.final
cdef class Hook:
    """A before or after hook, compiled: the callable, how many arguments it takes, how messages name it, whether it is
    async."""
    cdef readonly object call
    cdef readonly str label
    cdef readonly bint is_async
    cdef int arity

    def __init__(self, call, int arity, str label not None, bint is_async=False):
        self.call = call
        self.arity = arity
        self.label = label
        self.is_async = is_async


@cython.final
@cython.no_gc_clear
cdef class Dispatcher:
    """The compiled, immutable form of an App; ``App._compile()`` makes it.

    ``router``; ``before`` and ``after``: tuples of Hook; ``folders``: callables ``(request) -> Response or None``,
    tried in order for GET and HEAD when no route matches; ``dumps`` and ``loads``: App(json=...)'s, or None for the
    standard library's; ``dev``: tracebacks are shown to the client; ``threads``: whether plain handlers run in the pool
    where their route does not say.
    """
    cdef readonly object app
    cdef readonly Router router
    cdef readonly bint dev
    cdef tuple before           # None when there are none
    cdef tuple after
    cdef tuple folders
    cdef object dumps           # None: the standard library's
    cdef object loads
    cdef bint threads
    cdef bint hooks_async
    cdef readonly bint needs_asyncio        # a handler or a hook is async
    cdef readonly bint needs_threads        # a handler runs in the pool
    cdef bint plans_bodies                  # a route grants its bodies more or less than Limits.body
    cdef bint always_inline                 # nothing is async, nothing runs in the pool
    cdef Mode unrouted_mode
    cdef Probes probes

    def __init__(self, Router router not None, *, app=None, tuple before=None, tuple after=None, tuple folders=(),
                 dumps=None, loads=None, bint dev=False, bint threads=False):
        self.router = router
        self.app = app
        self.before = before or None
        self.after = after or None
        self.folders = folders
        self.dumps = dumps
        self.loads = _json_loads if loads is None else loads
        self.dev = dev
        self.threads = threads
        hooks = (before or ()) + (after or ())
        self.hooks_async = any([hook.is_async for hook in hooks])
        self.needs_asyncio = self.hooks_async or any([one.is_async for one in router.endpoints])
        self.needs_threads = threads or any([(<Endpoint>one).blocking > 0 for one in router.endpoints])
        self.plans_bodies = any([one.max_body >= 0 for one in router.endpoints])
        self.always_inline = not self.needs_asyncio and not self.needs_threads
        self.probes = Probes(router)
        self.unrouted_mode = MODE_TASK if self.hooks_async else MODE_POOL if threads and hooks else MODE_INLINE

    # ---- how it is run ----

    cdef inline Endpoint find(self, Request request):
        """The route for a request; None: there is none. It counts for the request only from _enter on, after the before
        hooks."""
        return self.router.route(
            request.parsed.method, request.head + request.parsed.method_at, request.parsed.method_len,
            request.head + request.parsed.path_at, request.parsed.path_len)

    cdef Mode mode_of(self, Endpoint endpoint) noexcept:
        if endpoint is None:
            return self.unrouted_mode
        if self.hooks_async or endpoint.is_async:
            return MODE_TASK
        return MODE_POOL if self.is_pooled(endpoint) else MODE_INLINE

    cdef bint is_pooled(self, Endpoint endpoint) noexcept:
        """Predicate: this plain handler runs in the pool."""
        return self.threads if endpoint.blocking < 0 else endpoint.blocking

    # ---- the two ways in ----

    cpdef Response respond(self, Request request):
        """The answer to a request. Raises only KeyboardInterrupt and SystemExit; all else is a 500."""
        if request is None or request.head == NULL:
            raise _unbound()
        return self.respond_at(request, self.find(request))

    cdef Response respond_at(self, Request request, Endpoint endpoint):
        """respond() once the route is found."""
        cdef Response response
        request.dispatcher = self
        if self.dumps is not None:
            return self._respond_with_json(request, endpoint)
        try:
            response = self._answer(request, endpoint)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:       # asyncio.CancelledError and its like out of a plain handler are its failure, too
            response = self._failure(request, _current_exception(), "handling")
        if self.after is not None:
            response = self._after(request, response)
        return response

    cpdef Response error(self, Request request, int status, str reason):
        """The framework's own error answer; ``reason``: what was wrong, for the client, or None. ``request`` may be
        None: then nothing was parsed and no hook runs. Neither do hooks that are async: nothing awaits them here."""
        cdef Response response = self._plain(status, reason)
        if request is not None and request.head != NULL and self.after is not None and not self.hooks_async:
            request.dispatcher = self
            response = self._after(request, response)
        return response

    cdef Response busy(self, Request request):
        """The answer where no thread is free and enough requests wait already."""
        cdef Response response = self._failure(request, _busy_error(), "handling")
        request.dispatcher = self
        return response if self.after is None else self._after(request, response)

    cdef Response _respond_with_json(self, Request request, Endpoint endpoint):
        """respond_at() with Response.json() speaking the App's JSON."""
        cdef Response response
        token = _json_dumps.set(self.dumps)
        try:
            try:
                response = self._answer(request, endpoint)
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

    cdef Response _answer(self, Request request, Endpoint endpoint):
        cdef Hook hook
        if self.before is not None:
            for hook in self.before:
                result = hook.call(request, request.get_params()) if hook.arity == 2 else hook.call(request)
                if result is not None:
                    return _begun(self._coerce(result, "before hook", hook.label, None))
        if endpoint is None:
            return self._unrouted(request)
        self._enter(request, endpoint)
        result = endpoint.call(request)
        if type(result) is Response and (<Response>result)._producer is None:
            return <Response>result
        return _begun(self._coerce(result, "handler", endpoint.label, endpoint))

    cdef inline int _enter(self, Request request, Endpoint endpoint) except -1:
        """The route counts from here on."""
        request.endpoint = endpoint
        if request._params is not None:         # a hook asked for it; otherwise it is filled when it is asked for
            endpoint.fill(request)
        return 1

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
                response = self._passed(hook, hook.call(request, request.get_params(), response))
                if response._producer is not None and response._producer.begins():
                    response_begin(response)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                response = self._failure(request, _current_exception(), f"after hook {hook.label}, handling")
        return response

    cdef Response _passed(self, Hook hook, result):
        """What an after hook returned, which must be a Response."""
        if type(result) is not Response:
            raise TypeError(f"after hook {hook.label} returned {_shown(result)}: an after hook returns the "
                            "Response that it was given, or another one")
        return <Response>result

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
        if isinstance(result, (_Iterator, _AsyncIterator)) and not isinstance(result, _IOBase):
            return _stream_response(result, None, 200, None, -1)
        return None

    # ---- errors ----

    cdef Response _plain(self, int status, str reason):
        text = _reason_phrase(status) if reason is None else f"{_reason_phrase(status)}: {reason}"
        return _make_response(PyUnicode_AsUTF8String(text), _TEXT_LINE, status, None)

    cdef Response _failure(self, Request request, exc, str doing):
        """The answer to an exception; it never fails itself for an Exception."""
        cdef Endpoint endpoint = request.endpoint
        try:
            if isinstance(exc, ClientDisconnected):     # nobody is there to be answered, and nothing failed here
                return self._plain(400, None)
            if isinstance(exc, HTTPError):
                return _make_response(exc.detail.encode("utf-8", "replace"), _TEXT_LINE, exc.status, exc.headers)
            handler = _handler_text(endpoint)
        except Exception:       # its headers cannot be sent
            exc = _current_exception()
            handler = "HTTPError"
        self.tell_failure(request, handler, exc, doing)
        if self.dev:
            text = "".join(_format_exception(exc))
            return _make_response(text.encode("utf-8", "backslashreplace"), _TEXT_LINE, 500, None)
        return self._plain(500, None)

    cdef int tell_failure(self, Request request, str handler, exc, str doing) except -1:
        """The record of a failure. A log that fails does not decide whether a request is answered."""
        try:
            # raw_path: the decoded one could hold line ends, and forge a record
            _log.error("%s %s %s (%s): %s", doing, request.method, request.raw_path, handler, type(exc).__name__,
                       exc_info=exc)
        except Exception:
            tell_unraisable(_current_exception())
        return 1

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


cdef Response _begun(Response response):
    """A streamed answer produces its first item before anything else happens to it."""
    if response._producer is not None:
        response_begin(response)
    return response


cdef object _busy_error():
    return HTTPError(503, "503 Service Unavailable: every thread is at work and enough requests wait; try again",
                     headers={"Retry-After": "1"})


cdef str _handler_text(Endpoint endpoint):
    return "no route" if endpoint is None else f"handler {endpoint.label}, route {endpoint.pattern}"


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
    if isinstance(result, _CoroutineType):
        result.close()                  # else Python warns that it was never awaited
        return "declare the handler with async def, so that it is awaited"
    if isinstance(result, _IOBase):
        return "an open file is not an answer; Response.file(path) sends files"
    if isinstance(result, tuple):
        return ("a tuple is (body, status) or (body, status, headers), with a body of str, bytes, dict or list; "
                "for a Response use with_status() and with_header()")
    if isinstance(result, (bytearray, memoryview)):
        return "return bytes(value) or Response.bytes(value)"
    return "return a Response, str, bytes, dict or list; Response.json(value) writes other values as JSON"
