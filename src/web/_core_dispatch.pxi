# Dispatcher: an App in the form in which it answers. The way of a request:
#
#     hosts -> before hooks of the App -> route -> before hooks of its groups and its own -> handler -> coercion
#           -> errors() -> its own after hooks and those of its groups -> after hooks of the App
#           -> conditions and ranges
#
# Immutable and made once, when a server starts; it may answer for several connections and listeners. Which arguments a
# handler takes was decided at registration, so answering is a direct call. What an App does not use costs nothing.
#
# find() tells who answers: a route; a scope, which stands for a group where no route matches; None, the App alone;
# `misdirected`, where the host is not one of hosts(), or where TLS asked other things of the client than that host
# does. A scope is found where the path is that of a route of the group for other methods, or of a file in one of its
# folders, or lies below its prefix. So the hooks of a group run for all that lies in it, 404, 405 and OPTIONS included.
#
# How it is run is told by mode_of: within the turn, in a Task of asyncio (where the handler or any of its hooks is
# async), or in a thread of the pool (where it may block). respond_at is the pipeline of the first and the last,
# run_task of the second.
#
# What leaves respond() and error(): a Response, always, whatever the application does. An exception becomes HTTPError's
# status or 500 with a log record; only KeyboardInterrupt and SystemExit go through as NULL.
# After hooks see every answer, the framework's own errors included; a hook that fails is replaced by a 500, and those
# after it still run.

cimport cython
from cpython.object cimport PyObject

from logging import getLogger as _getLogger
from types import CoroutineType as _CoroutineType
from collections.abc import Iterator as _Iterator

cdef object _log = _getLogger("web")
cdef enum:
    SHOWN_MAX = 80      # characters of a foreign value in a message

cdef enum Mode:
    MODE_INLINE = 1     # within the turn
    MODE_TASK = 2       # in a Task of asyncio
    MODE_POOL = 3       # in a thread of the pool


@cython.final
@cython.no_gc_clear
cdef class Dispatcher:
    """The compiled, immutable form of an App; ``App._compile()`` makes it.

    ``router``; ``before`` and ``after``: tuples of Hook; ``errors``: a Hook ``(req, status, reason)`` or None;
    ``folders``: callables ``(request) -> Response or None``, tried in order for GET and HEAD when no route matches;
    ``owners``: for each of them the scope of its group, or None; ``scopes``: those of groups with a prefix; ``hosts``:
    None for all; ``dumps`` and ``loads``: App(json=...)'s, or None for the standard library's; ``sessions``: opens
    ``req.session``, or None; ``proxies``: whose fields are believed, or None; ``dev``: tracebacks are shown to the
    client; ``threads``: whether plain handlers run in the pool where their route does not say; ``on_failure``: called
    with (request, exception), in whichever thread it is, before an exception becomes a 500 (``web.testing``), or None.
    """
    cdef readonly object app
    cdef readonly Router router
    cdef readonly bint dev
    cdef tuple before           # None when there are none
    cdef Py_ssize_t asked       # how many there are
    cdef tuple after
    cdef Hook errors
    cdef tuple folders
    cdef tuple owners
    cdef tuple scopes           # the longest prefix first
    cdef Hosts hosts
    cdef Endpoint misdirected   # what find() gives where the host is none of hosts
    cdef object dumps           # None: the standard library's
    cdef object loads
    cdef object sessions        # web.sessions.Sessions; None: the App has none
    cdef object proxies         # web.proxies.Proxies whose fields are believed; None: nobody's are
    cdef object on_failure
    cdef bint threads
    cdef bint hooks_async
    cdef bint has_scopes        # a group has hooks
    cdef bint is_wide           # there is more than routes and the App's own hooks
    cdef bint checks_names      # TLS names differ in what they ask of clients
    cdef readonly bint needs_asyncio        # a handler or a hook is async
    cdef readonly bint needs_threads        # a handler runs in the pool
    cdef bint plans_bodies                  # a route grants its bodies more or less than Limits.body
    cdef bint always_inline                 # nothing is async, nothing runs in the pool
    cdef Mode unrouted_mode
    cdef Probes probes

    def __init__(self, Router router not None, *, app=None, tuple before=None, tuple after=None, Hook errors=None,
                 tuple folders not None=(), tuple owners=None, tuple scopes not None=(), Hosts hosts=None, dumps=None,
                 loads=None, sessions=None, proxies=None, bint dev=False, bint threads=False, on_failure=None):
        self.router = router
        self.app = app
        self.before = before or None
        self.after = after or None
        self.errors = errors
        self.folders = folders
        self.owners = (None,) * len(folders) if owners is None else owners
        if len(self.owners) != len(folders):
            raise ValueError("Dispatcher(owners=...): one for each folder")
        self.scopes = tuple(sorted(scopes, key=_prefix_length, reverse=True))
        self.hosts = hosts
        self.misdirected = Endpoint((), "", (), None, is_scope=True)
        self.dumps = dumps
        self.loads = _json_loads if loads is None else loads
        self.sessions = sessions
        self.proxies = proxies
        self.dev = dev
        self.threads = threads
        self.on_failure = on_failure
        hooks = (before or ()) + (after or ()) + (() if errors is None else (errors,))
        around = [one for one in router.endpoints + self.scopes if one.chain is not None]
        around += [one for one in self.owners if one is not None]
        self.has_scopes = len(around) > 0
        self.is_wide = self.has_scopes or dumps is not None or hosts is not None or errors is not None
        self.hooks_async = any([(<Hook?>hook).is_async for hook in hooks])
        self.asked = len(before or ())
        self.needs_asyncio = self.hooks_async or any([(<Endpoint>one).in_task for one in router.endpoints]) \
            or any([one.chain.is_async for one in around])
        self.needs_threads = threads or any([(<Endpoint>one).blocking > 0 for one in router.endpoints])
        self.plans_bodies = any([one.max_body >= 0 for one in router.endpoints])
        self.always_inline = not self.needs_asyncio and not self.needs_threads
        self.probes = Probes(router)
        self.unrouted_mode = MODE_TASK if self.hooks_async else MODE_POOL if threads and hooks else MODE_INLINE

    cdef void check_names(self) noexcept:
        """From now on a request is for the name that its connection asked for, or for one with the same rules."""
        self.checks_names = self.is_wide = True

    # ---- who answers, and how it is run ----

    cdef inline Endpoint find(self, Request request):
        """Who answers a request; None: no route, and no group. It counts for the request only from _enter on, after
        the before hooks of the App."""
        if self.is_wide:
            return self._find_wide(request)
        return self.router.route(
            request.parsed.method, request.head + request.parsed.method_at, request.parsed.method_len,
            request.head + request.parsed.path_at, request.parsed.path_len)

    cdef Endpoint _find_wide(self, Request request):
        """find() with hosts() and groups."""
        cdef Endpoint endpoint
        request.dispatcher = self       # a proxy may name the host
        if self.hosts is not None and not self.hosts.admits(request.host):
            return self.misdirected
        if self.checks_names and request.is_misdirected():
            return self.misdirected
        endpoint = self.router.route(
            request.parsed.method, request.head + request.parsed.method_at, request.parsed.method_len,
            request.head + request.parsed.path_at, request.parsed.path_len)
        if endpoint is None and self.has_scopes:
            return self._scope_of(request)
        return endpoint

    cdef Endpoint find_refused(self, Request request):
        """Whose hooks see the refusal of a request whose head was parsed; None: the App's alone."""
        cdef Endpoint endpoint
        if not self.has_scopes and self.hosts is None and not self.checks_names:
            return None
        endpoint = self.find(request)
        if endpoint is None or endpoint is self.misdirected or endpoint.chain is not None:
            return endpoint
        return None

    cdef Endpoint _scope_of(self, Request request):
        """The group in which a request without a route lies."""
        cdef const char* raw = request.head + request.parsed.path_at
        cdef Endpoint endpoint = self.router.of_any_method(raw, request.parsed.path_len)
        cdef RoutePath path
        cdef Py_ssize_t i
        if endpoint is not None:
            return endpoint.scope
        for i in range(len(self.folders)):
            if _has_file(self.folders[i], request):
                return <Endpoint?>self.owners[i] if self.owners[i] is not None else None
        try:
            if route_path_split(&path, raw, request.parsed.path_len) < 0:
                raise MemoryError()
            for endpoint in self.scopes:
                if endpoint.opens(&path):
                    return endpoint if endpoint.chain is not None else None
        finally:
            route_path_free(&path)
        return None

    cdef Mode mode_of(self, Endpoint endpoint) noexcept:
        if endpoint is None:
            return self.unrouted_mode
        if self.hooks_async or endpoint.in_task:
            return MODE_TASK
        return MODE_POOL if self.is_pooled(endpoint) else MODE_INLINE

    cdef Mode mode_of_refused(self, Endpoint endpoint) noexcept:
        if endpoint is self.misdirected:
            return MODE_INLINE
        return MODE_TASK if endpoint is not None and endpoint.chain.is_async else self.unrouted_mode

    cdef bint is_pooled(self, Endpoint endpoint) noexcept:
        """Predicate: this plain handler runs in the pool."""
        return self.threads if endpoint.blocking < 0 else endpoint.blocking

    # ---- the ways in ----

    cpdef Response respond(self, Request request):
        """The answer to a request. Raises only KeyboardInterrupt and SystemExit; all else is a 500."""
        if request is None or request.head == NULL:
            raise _unbound()
        return self.respond_at(request, self.find(request))

    cdef Response respond_at(self, Request request, Endpoint endpoint):
        """respond() once it is found who answers."""
        cdef Response response
        request.dispatcher = self
        if self.is_wide:
            response = self._respond_wide(request, endpoint)
        else:
            response = self._respond_narrow(request, endpoint)
        return conditional(self, request, response) if request.parsed.seen & HTTP1_SAID_CONDITION else response

    cdef inline Response _respond_narrow(self, Request request, Endpoint endpoint):
        """respond_at() where nothing is wide."""
        cdef Response response
        try:
            response = self._answer(request, endpoint) if self.before is None else self._ask_first(request, endpoint)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:       # asyncio.CancelledError and its like out of a plain handler are its failure, too
            response = self._failed(request, endpoint, "handling")
        if self.after is not None:
            response = self._after(request, endpoint, self.after, response)
        return response

    cdef Response _respond_wide(self, Request request, Endpoint endpoint):
        """respond_at() with groups, hooks of routes, errors(), hosts(), or Response.json() speaking the App's JSON."""
        cdef object outcome
        if endpoint is not None and endpoint is self.misdirected:
            return self._misdirect(request)
        token = _json_dumps.set(self.dumps)
        try:
            try:
                outcome = self._answer_wide(request, endpoint)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                outcome = self._failure(request, _current_exception(), "handling")
            return self._conclude(request, endpoint, outcome)
        finally:
            _json_dumps.reset(token)

    cpdef Response error(self, Request request, int status, str reason):
        """The framework's own error answer; ``reason``: what was wrong, for the client, or None. ``request`` may be
        None: then nothing was parsed and no hook runs. Neither do hooks that are async: nothing awaits them here."""
        return self.error_at(request, None if request is None else request.endpoint, status, reason)

    cdef Response error_at(self, Request request, Endpoint endpoint, int status, str reason):
        cdef Fault fault = _make_fault(status, reason, _NO_LINES)
        if request is None or request.head == NULL:
            return _built_in(None, fault, self.dev)
        request.dispatcher = self
        if endpoint is not None and endpoint is self.misdirected:
            return _built_in(request, fault, self.dev)
        token = _json_dumps.set(self.dumps)
        try:
            return self._conclude(request, endpoint, fault)
        finally:
            _json_dumps.reset(token)

    cdef Response busy(self, Request request, Endpoint endpoint):
        """The answer where no thread is free and enough requests wait already."""
        request.dispatcher = self
        token = _json_dumps.set(self.dumps)
        try:
            return self._conclude(request, endpoint, _http_error_outcome(_busy_error()))
        finally:
            _json_dumps.reset(token)

    cdef Response _misdirect(self, Request request):
        return _built_in(request, _make_fault(421, "this server does not answer for that host", _NO_LINES), self.dev)

    # ---- the steps ----

    cdef Response _answer(self, Request request, Endpoint endpoint):
        """The answer where nothing is wide, behind the before hooks."""
        if endpoint is None:
            return self._settle(request, None, self._unrouted(request, None))
        self._enter(request, endpoint)
        result = endpoint.call(request)
        if type(result) is Response and (<Response>result)._producer is None:
            return <Response>result
        return _begun(self._coerce(result, "handler", endpoint.label, endpoint))

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef Response _ask_first(self, Request request, Endpoint endpoint):
        """The answer where nothing is wide but the App has before hooks."""
        cdef Hook hook
        cdef Py_ssize_t i
        for i in range(self.asked):
            hook = <Hook>self.before[i]             # __init__ has seen that they are
            result = hook.call(request, request.get_params()) if hook.arity == 2 else hook.call(request)
            if result is not None:
                return _begun(self._coerce(result, "before hook", hook.label, None))
        return self._answer(request, endpoint)

    cdef object _answer_wide(self, Request request, Endpoint endpoint):
        """A Response, or a Fault."""
        cdef Response response = None if self.before is None else self._ask(request, self.before)
        if response is not None:
            return response
        if endpoint is None:
            return self._unrouted(request, None)
        self._enter(request, endpoint)
        if endpoint.chain is not None:
            response = self._ask(request, endpoint.chain.before)
            if response is not None:
                return response
        if endpoint.is_scope:
            return self._unrouted(request, endpoint)
        return _begun(self._coerce(endpoint.call(request), "handler", endpoint.label, endpoint))

    cdef Response _ask(self, Request request, tuple hooks):
        """What the first of these before hooks answers; None: all let the request pass."""
        cdef Hook hook
        for hook in hooks:
            result = hook.call(request, request.get_params()) if hook.arity == 2 else hook.call(request)
            if result is not None:
                return _begun(self._coerce(result, "before hook", hook.label, None))
        return None

    cdef inline int _enter(self, Request request, Endpoint endpoint) except -1:
        """The route counts from here on."""
        request.endpoint = endpoint
        if request._params is not None:         # a hook asked for it; otherwise it is filled when it is asked for
            endpoint.fill(request)
        return 1

    cdef object _unrouted(self, Request request, Endpoint scope):
        """Static folders; then what RFC 9110 says of a target without the method, or without anything. ``scope``: the
        group whose hooks were run. Folders of others are not asked: theirs were not."""
        cdef int method = request.parsed.method
        cdef const char* path = request.head + request.parsed.path_at
        cdef uint64_t methods
        cdef bint everything = request.parsed.path_len == 1 and path[0] == c'*'
        cdef Py_ssize_t i
        if method == METHOD_GET or method == METHOD_HEAD:
            for i in range(len(self.folders)):
                if self.owners[i] is scope:
                    response = self.folders[i](request)
                    if response is not None:
                        return response
        methods = self.router.known if everything else self.router.allowed(path, request.parsed.path_len)
        if self._in_folder(request, scope, method, everything):
            methods |= <uint64_t>1 << METHOD_GET
        if methods == 0 and not everything:
            return _make_fault(404, None, _NO_LINES)
        if method == METHOD_OPTIONS:                                # 9.3.7
            return _make_response(_NO_LINES, self._allow_line(methods), 204, None)
        if self._is_unknown(request):                               # 15.6.2: known for no resource
            return _make_fault(501, f"the method {request.method} is not implemented", _NO_LINES)
        return _make_fault(405, None, self._allow_line(methods))    # 15.5.6

    cdef bint _in_folder(self, Request request, Endpoint scope, int method, bint everything) except -1:
        """Whether a static folder would answer a GET for this path; for GET and HEAD that was tried before."""
        cdef Py_ssize_t i
        if method == METHOD_GET or method == METHOD_HEAD:
            return False
        if everything:
            return len(self.folders) > 0
        for i in range(len(self.folders)):
            if self.owners[i] is scope and self.folders[i](request) is not None:
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

    cdef Response _conclude(self, Request request, Endpoint endpoint, object outcome):
        """errors(), where there is a Fault, and the after hooks from inside out. Not those that are async: there are
        some only where a Task was to run them, and nothing awaits them here."""
        cdef Response response = self._settle(request, endpoint, outcome)
        if endpoint is not None and endpoint.chain is not None:
            if request.endpoint is None:        # a before hook of the App answered, or the request was refused
                self._enter(request, endpoint)
            response = self._after(request, endpoint, _plain_hooks(endpoint.chain.after), response)
        if self.after is not None:
            response = self._after(request, endpoint, _plain_hooks(self.after), response)
        return response

    cdef Response _after(self, Request request, Endpoint endpoint, tuple hooks, Response response):
        cdef Hook hook
        for hook in hooks:
            try:
                response = self._passed(hook, hook.call(request, request.get_params(), response))
                if response._producer is not None and response._producer.begins():
                    response_begin(response)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                response = self._failed(request, endpoint, f"after hook {hook.label}, handling")
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

    cdef object _failure(self, Request request, exc, str doing):
        """The outcome of an exception: a Fault, or an HTTPError's own Response. It never fails itself for an Exception.
        """
        cdef Endpoint endpoint = request.endpoint
        cdef Fault fault
        try:
            if isinstance(exc, ClientDisconnected):     # nobody is there to be answered, and nothing failed here
                return _make_fault(400, None, _NO_LINES)
            if isinstance(exc, HTTPError):
                return _http_error_outcome(exc)
            handler = _handler_text(endpoint)
        except Exception:       # its headers cannot be sent
            exc = _current_exception()
            handler = "HTTPError"
        self._tell(request, exc, f"{doing} {request.method} {request.raw_path} ({handler})")
        fault = _make_fault(500, None, _NO_LINES)
        fault.error = exc
        return fault

    cdef Response _failed(self, Request request, Endpoint endpoint, str doing):
        """The answer to the exception that is being handled."""
        return self._settle(request, endpoint, self._failure(request, _current_exception(), doing))

    cdef int _tell(self, Request request, exc, str what) except -1:
        try:
            if self.on_failure is not None:
                self.on_failure(request, exc)
            # raw_path: the decoded one could hold line ends, and forge a record
            _log.error("%s: %s", what, type(exc).__name__, exc_info=exc)
        except Exception:       # a log that fails does not decide whether a request is answered
            tell_unraisable(_current_exception())
        return 1

    cdef Hook _errors_for(self, Endpoint endpoint, Fault fault):
        """The function of errors() that is innermost; None: as built in. Whoever develops is shown the traceback."""
        if self.dev and fault.error is not None:
            return None
        if endpoint is not None and endpoint.chain is not None and endpoint.chain.errors is not None:
            return endpoint.chain.errors
        return self.errors

    cdef Response _settle(self, Request request, Endpoint endpoint, object outcome):
        """The Response for an outcome. A function that is async is left out: nothing awaits it here."""
        cdef Fault fault
        cdef Hook errors
        if type(outcome) is Response:
            return <Response>outcome
        fault = <Fault?>outcome
        errors = self._errors_for(endpoint, fault)
        if errors is None or errors.is_async:
            return _built_in(request, fault, self.dev)
        try:
            return self._formed(errors, fault, errors.call(request, fault.status, _reason_of(fault)))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            return self._unformed(request, errors, fault, _current_exception())

    cdef Response _formed(self, Hook errors, Fault fault, object result):
        """What the function of errors() returned, with the error's own fields. A body alone gets the error's status."""
        cdef Response response
        if isinstance(result, Response):
            response = <Response>result
        elif isinstance(result, tuple):
            response = self._coerce(result, "errors function", errors.label, None)
        else:
            response = self._coerce(result, "errors function", errors.label, None).with_status(fault.status)
        return response if not fault.lines else _with_missing_lines(response, fault.lines)

    cdef Response _unformed(self, Request request, Hook errors, Fault fault, exc):
        """The built-in answer where the function of errors() failed."""
        self._tell(request, exc, f"errors function {errors.label}, answering {request.method} {request.raw_path} "
                                 f"with {fault.status}")
        return _built_in(request, fault, self.dev)

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


def _prefix_length(Endpoint scope not None):
    return scope.count


cdef tuple _plain_hooks(tuple hooks):
    cdef Hook hook
    for hook in hooks:
        if hook.is_async:
            return tuple([one for one in hooks if not (<Hook>one).is_async])
    return hooks


cdef str _reason_of(Fault fault):
    """What errors() is told: text, always."""
    return _reason_phrase(fault.status) if fault.reason is None else fault.reason


cdef bint _has_file(object folder, Request request) noexcept:
    """Predicate: the folder has what is asked for. One that fails is taken for its owner: it will say so again."""
    try:
        return folder(request) is not None
    except Exception:
        return True


cdef str _handler_text(Endpoint endpoint):
    return "no route" if endpoint is None else endpoint.name()


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
