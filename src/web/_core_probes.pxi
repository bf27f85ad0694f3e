# Health routes: is the process alive, and are new requests welcome? Answered when the head was parsed, without the GIL
# and without the application, so that they answer whatever its threads, hooks and handlers are about.
#
# A route is a health route by its handler, answer_livez or answer_readyz. GET and HEAD of exactly its path, without a
# body, are answered here; every other request for it goes the way of other routes, where the same handler answers. So
# does HEAD where a HEAD route of its own comes first.

cdef enum:
    PROBES_MAX = 8              # further ones are routes like others

cdef struct Probe:
    const char* path
    size_t length
    bint readiness              # 503 while requests are not welcome; else alive is enough
    bint answers_head


@cython.final
@cython.no_gc_clear
cdef class Probes:
    """The health routes of a Router."""
    cdef Probe[8] all           # PROBES_MAX; they point into paths
    cdef int count
    cdef tuple paths

    def __init__(self, Router router not None):
        cdef Endpoint endpoint
        cdef bytes path
        if self.paths is not None:
            raise RuntimeError("these Probes were made before")
        found = [one for one in router.endpoints if one.handler is answer_livez or one.handler is answer_readyz]
        found = [one for one in found if (<Endpoint>one).is_fixed][:PROBES_MAX]
        self.paths = tuple([router._whole_key(one) for one in found])
        for endpoint, path in zip(found, self.paths):
            self.all[self.count].path = PyBytes_AS_STRING(path)
            self.all[self.count].length = PyBytes_GET_SIZE(path)
            self.all[self.count].readiness = endpoint.handler is answer_readyz
            self.all[self.count].answers_head = router.route(
                METHOD_HEAD, b"HEAD", 4, path, PyBytes_GET_SIZE(path)) is endpoint
            self.count += 1

    cdef const Probe* find(self, const char* path, size_t length) noexcept nogil:
        cdef int i
        for i in range(self.count):
            if self.all[i].length == length and memcmp(self.all[i].path, path, length) == 0:
                return &self.all[i]
        return NULL


cdef int exchange_probe(Loop loop, Connection c) noexcept nogil:
    """Answers a request without a body if it is for a health route: PROBE_ANSWERED. PROBE_NONE: the routes see it.
    WEB_FAILED: no memory, the connection was taken out of service."""
    cdef Http1* http = c.http
    cdef const char* head = http.in_data + http.in_at - http.head_len
    cdef const Probe* probe
    cdef int status
    if http.head.method != METHOD_GET and http.head.method != METHOD_HEAD:
        return PROBE_NONE
    probe = loop.dispatcher.probes.find(head + http.head.path_at, http.head.path_len)
    if probe == NULL or (http.head.method == METHOD_HEAD and not probe.answers_head):
        return PROBE_NONE
    status = 503 if probe.readiness and not loop_is_ready(loop) else 200
    c.requests += 1
    loop.row.counts.requests += 1
    if answer_text(loop, http, status, NULL, answer_is_last(loop, c)) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return WEB_FAILED
    http1_head_init(&http.head)
    return PROBE_ANSWERED


def answer_livez(Request request not None):
    """The handler of ``livez()``: 200 by whoever is asked."""
    return probe_response(200)


def answer_readyz(Request request not None):
    """The handler of ``readyz()``: 503 while the server does not welcome requests."""
    cdef Loop loop = request_loop(request)
    return probe_response(200 if loop is None or loop_is_ready(loop) else 503)


cdef Response probe_response(int status):
    cdef size_t length[1]
    cdef const char* line = http1_status_line(status, length)
    return _make_response(PyBytes_FromStringAndSize(line + 9, length[0] - 11) + b"\n", _TEXT_LINE, status, None)


def stats_of(Request request not None):
    """The Stats of the server that answers this request; None without one."""
    cdef Loop loop = request_loop(request)
    return None if loop is None else loop.stats


def certificates_of(Request request not None):
    """The Certificates of the server that answers this request, each once."""
    cdef Loop loop = request_loop(request)
    cdef Listener listener
    found = {}
    if loop is not None:
        for listener in loop.listeners:
            if listener.context is not None:
                found.update(dict.fromkeys(listener.context.certificates))
    return list(found)


cdef Loop request_loop(Request request):
    cdef Connection c = request.connection
    return None if c is None else c.loop
