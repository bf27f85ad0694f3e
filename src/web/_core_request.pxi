# Request: one request as handlers see it. Everything is built when it is first asked for.
#
# States
#   UNBOUND    head == NULL: as made by __new__, or after unbind(). Every accessor raises RuntimeError.
#   BOUND      head and body_data point into the exchange's memory (bind); owner is None.
#   DETACHED   they point into bytes of its own (detach, __init__): owner holds the head, _body the body.
#
# Invariants: UNBOUND means that every lazy attribute is None. All offsets of `parsed` lie in head[0:parsed.fields_end].
#
# Ownership: the exchange owns the memory of a BOUND request. When the answer is written and somebody else still holds
# the Request, the exchange calls detach(); otherwise unbind(), or it just drops the object into the free list. The
# collector does not clear it (no_gc_clear): head would outlive owner. What can make a cycle here (params, state,
# session) is cleared itself.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memcpy

from sys import exception as _current_exception
from io import BytesIO as _BytesIO
from types import SimpleNamespace as _SimpleNamespace
from urllib.parse import parse_qsl as _parse_qsl

from web.bodies import open_spool as _open_spool
from web.conditional import precondition as _precondition
from web.cookies import parse_cookies as _parse_cookies
from web.dates import seconds as _seconds
from web.errors import HTTPError
from web.forms import read_form as _read_form, read_parts as _read_parts
from web.headers import Headers as _Headers, MultiValues as _MultiValues
from web.typed_json import decode_as as _decode_as

cdef class Endpoint         # _core_routing

cdef enum:
    QUERY_FIELDS = 1000         # more fields in a query are refused: building them costs far more than sending them

# Method names come from this table and are interned; an unknown method's name is made afresh (since Python 3.12
# interned strings are never freed, so a peer must not choose them).
cdef list _method_names = [""] * (METHOD_TRACE + 1)
_method_names[METHOD_GET] = "GET"
_method_names[METHOD_HEAD] = "HEAD"
_method_names[METHOD_POST] = "POST"
_method_names[METHOD_PUT] = "PUT"
_method_names[METHOD_PATCH] = "PATCH"
_method_names[METHOD_DELETE] = "DELETE"
_method_names[METHOD_OPTIONS] = "OPTIONS"
_method_names[METHOD_CONNECT] = "CONNECT"
_method_names[METHOD_TRACE] = "TRACE"

cdef Http1Limits _own_limits    # of Request(raw), which comes from a test or a benchmark
_own_limits.request_line = _own_limits.field = _own_limits.fields = 1 << 20
_own_limits.field_count = 10000


# ---- percent-decoding (RFC 3986 2.1) ----

cdef inline int _hex_digit(char c) noexcept nogil:
    """0 to 15, or -1."""
    if c'0' <= c <= c'9':
        return c - c'0'
    if c'a' <= (c | 0x20) <= c'f':
        return (c | 0x20) - c'a' + 10
    return -1


cdef size_t percent_decode(char* out, const char* text, size_t n, bint keep_slash) noexcept nogil:
    """Decodes text[0:n] into out, which must have room for n bytes (the result is never longer); how many were written.

    A '%' without two digits stays as it is. `keep_slash`: an encoded slash is written as %2F, so that every '/' in the
    result was a separator in the text.
    """
    cdef size_t at = 0
    cdef size_t end = 0
    cdef int high, low
    while at < n:
        if text[at] == c'%' and n - at > 2:
            high = _hex_digit(text[at + 1])
            low = _hex_digit(text[at + 2])
            if high >= 0 and low >= 0:
                at += 3
                if keep_slash and high == 2 and low == 15:
                    memcpy(out + end, b"%2F", 3)
                    end += 3
                else:
                    out[end] = <char>(high * 16 + low)
                    end += 1
                continue
        out[end] = text[at]
        end += 1
        at += 1
    return end


cdef str percent_decoded(const char* text, size_t n, bint keep_slash):
    """The text as str; what is not UTF-8 after decoding becomes U+FFFD (raw_path has the bytes as they came)."""
    cdef bytes room
    if memchr(text, c'%', n) == NULL:
        return PyUnicode_DecodeUTF8(text, n, b"replace")
    room = PyBytes_FromStringAndSize(NULL, n)
    n = percent_decode(PyBytes_AS_STRING(room), text, n, keep_slash)
    return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(room), n, b"replace")


# ---- field names ----

cdef inline char _lower(char c) noexcept nogil:
    return c | 0x20 if c'A' <= c <= c'Z' else c


cdef inline bint _same_name(const char* a, const char* b, size_t n) noexcept nogil:
    """Predicate: equal without case (RFC 9110 5.1); only letters have case."""
    cdef size_t i
    for i in range(n):
        if _lower(a[i]) != _lower(b[i]):
            return 0
    return 1


cdef object headers_from(const char* data, size_t begin, size_t end):
    """Headers from field lines that are known to be well-formed."""
    cdef Http1Field field
    cdef size_t[1] at
    cdef list pairs = []
    at[0] = begin
    while http1_field_next(data, end, at, &field) == 1:
        pairs.append((PyUnicode_DecodeLatin1(field.name, field.name_len, NULL),
                      PyUnicode_DecodeLatin1(field.value, field.value_len, NULL)))
    return _Headers(pairs)


cdef object _unbound():
    return RuntimeError(
        "this Request holds no request: its exchange is over and dropped it, or it was made by Request.__new__")


@cython.final
@cython.no_gc_clear
@cython.freelist(64)
cdef class Request:
    """One HTTP request.

    ``Request(raw, body=b"", connection=None)`` makes one from the bytes of its head (request line, fields, empty line),
    for tests; ``ValueError`` when they are not exactly one head. Servers make their own.

    Everything but ``params``, ``session`` and ``state`` is read-only. Text is decoded as said at each attribute and
    never fails; only ``text()``, ``json()`` and ``query`` can raise: ``HTTPError``, which is answered with its status.
    """
    cdef const char* head
    cdef Http1Head parsed
    cdef const char* body_data
    cdef size_t body_len
    cdef object owner
    cdef readonly Connection connection     # the connection it came on; None for one made by hand
    cdef Dispatcher dispatcher              # who answers it
    cdef Endpoint endpoint                  # the route that matched
    cdef dict _params
    cdef Inflow inflow                      # the body as it comes, of a route with stream=True
    cdef Spool spool                        # the body in a file
    cdef str _raw_path
    cdef str _path
    cdef str _query_string
    cdef object _query
    cdef object _headers
    cdef object _cookies
    cdef readonly object _session           # None: nobody asked for it
    cdef object _state
    cdef object _origin                     # (client, scheme, host), where proxies may name them
    cdef object _form
    cdef object _parts
    cdef bytes _body

    def __init__(self, bytes raw not None, bytes body not None=b"", Connection connection=None):
        cdef Http1Head parsed
        cdef Py_ssize_t length
        http1_head_init(&parsed)
        length = http1_head_feed(&parsed, raw, len(raw), &_own_limits)
        if length == HTTP1_MORE:
            raise ValueError("Request(raw): the head is not complete; it ends with an empty line (CRLF CRLF)")
        if length < 0:
            raise ValueError(f"Request(raw): {-length}: {parsed.fault.decode()}")
        if length != len(raw):
            raise ValueError(f"Request(raw): {len(raw) - length} bytes after the head; the body is the second argument")
        self.bind(connection, raw, &parsed, body, len(body))
        self.owner = raw
        self._body = body

    # ---- what the exchange calls ----

    cdef void bind(self, Connection connection, const char* head, const Http1Head* parsed,
                   const char* body, size_t body_len) noexcept:
        """UNBOUND (or any) -> BOUND. head and body must stay where they are until detach() or unbind()."""
        if self.head != NULL:
            self.unbind()
        self.head = head
        self.parsed = parsed[0]
        self.body_data = body
        self.body_len = body_len
        self.connection = connection

    cdef void take_body(self, bytes body) noexcept:
        """The bound body lies in this object already: handlers are given it without a copy."""
        self._body = body

    cdef int detach(self) except -1:
        """BOUND -> DETACHED: takes copies with it, the exchange's memory may go. MemoryError leaves it BOUND."""
        cdef bytes own
        if self.head == NULL or self.owner is not None:
            return 1
        own = PyBytes_FromStringAndSize(self.head, self.parsed.fields_end)
        if self._body is None and self.spool is None:
            self._body = PyBytes_FromStringAndSize(self.body_data, self.body_len)
        self.owner = own
        self.head = PyBytes_AS_STRING(own)
        self.body_data = NULL if self._body is None else PyBytes_AS_STRING(self._body)
        return 1

    cdef void unbind(self) noexcept:
        """Any -> UNBOUND. head goes first: dropping what the application left here may run code that looks at it."""
        self.head = NULL
        self.body_data = NULL
        self.owner = None
        self.connection = None
        self.dispatcher = None
        self.endpoint = None
        self._params = None
        self.forget()
        self._session = None
        self._state = None
        self._origin = None
        self._form = None
        self._parts = None
        self._body = None
        self.inflow = None
        self.spool = None

    cdef void forget(self) noexcept:
        """Drops what is read from the head again when it is asked for: 2 KiB that a long connection need not hold."""
        self._raw_path = None
        self._path = None
        self._query_string = None
        self._query = None
        self._headers = None
        self._cookies = None

    # ---- the request line ----

    @property
    def method(self):
        """str: the method, in the case in which it was sent (RFC 9110 9.1)."""
        if self.head == NULL:
            raise _unbound()
        if self.parsed.method != METHOD_OTHER:
            return _method_names[self.parsed.method]
        return PyUnicode_DecodeLatin1(self.head + self.parsed.method_at, self.parsed.method_len, NULL)

    @property
    def raw_path(self):
        """str: the path as received, still percent-encoded, without the query. ``*`` for OPTIONS *."""
        if self.head == NULL:
            raise _unbound()
        if self._raw_path is None:
            self._raw_path = PyUnicode_DecodeLatin1(self.head + self.parsed.path_at, self.parsed.path_len, NULL)
        return self._raw_path

    @property
    def path(self):
        """str: the decoded path. Invalid UTF-8 becomes U+FFFD. An encoded slash stays ``%2F``: splitting at ``/`` gives
        the segments that routing saw. Dot segments stay as they are (nothing is collapsed)."""
        if self.head == NULL:
            raise _unbound()
        if self._path is None:
            self._path = percent_decoded(self.head + self.parsed.path_at, self.parsed.path_len, 1)
        return self._path

    @property
    def query_string(self):
        """str: the query as received, without the ``?``; empty when there is none."""
        if self.head == NULL:
            raise _unbound()
        if self._query_string is None:
            self._query_string = PyUnicode_DecodeLatin1(self.head + self.parsed.query_at, self.parsed.query_len, NULL)
        return self._query_string

    @property
    def query(self):
        """MultiValues: the query's fields (application/x-www-form-urlencoded, UTF-8; invalid sequences become U+FFFD).

        Fields without a value are kept, with an empty one. More than 1,000 fields: HTTPError 400.
        """
        if self.head == NULL:
            raise _unbound()
        if self._query is None:
            try:
                pairs = _parse_qsl(self.query_string, keep_blank_values=True, max_num_fields=QUERY_FIELDS)
            except ValueError:
                raise HTTPError(400, f"the query has more than {QUERY_FIELDS} fields") from None
            self._query = _MultiValues(pairs)
        return self._query

    @property
    def http_version(self):
        """str: "1.1" or "1.0". A higher minor version counts as 1.1 (RFC 9110 2.5)."""
        if self.head == NULL:
            raise _unbound()
        return "1.1" if self.parsed.minor_version else "1.0"

    # ---- fields ----

    @property
    def headers(self):
        """Headers: all fields in order, values decoded as ISO-8859-1 (RFC 9110 5.5)."""
        if self.head == NULL:
            raise _unbound()
        if self._headers is None:
            self._headers = headers_from(self.head, self.parsed.fields_at, self.parsed.fields_end)
        return self._headers

    def header(self, str name not None, default=None):
        """The first value of one field, found without building ``headers``; ``default`` when it was not sent."""
        cdef Http1Field field
        cdef size_t[1] at
        cdef Py_ssize_t[1] length
        cdef const char* wanted = PyUnicode_AsUTF8AndSize(name, length)
        if self.head == NULL:
            raise _unbound()
        at[0] = self.parsed.fields_at
        while http1_field_next(self.head, self.parsed.fields_end, at, &field) == 1:
            if field.name_len == <size_t>length[0] and _same_name(field.name, wanted, field.name_len):
                return PyUnicode_DecodeLatin1(field.value, field.value_len, NULL)
        return default

    def precondition(self, str etag=None, *, bint weak=False, last_modified=None):
        """The conditions of the request against the state that there is now, before a handler changes it, or makes what
        the client has already (RFC 9110 13.2.2).

        ``etag``: the text between the quotes; ``weak`` as in ``Response.with_etag``; ``last_modified``: a datetime with
        a time zone, or seconds since 1970; neither: there is nothing yet. None: go on. A Response with 304: return it.
        HTTPError 412: the condition failed.
        """
        cdef Response response = Response.empty(status=304)
        modified = None
        if etag is not None:
            response = response.with_etag(etag, weak=weak)
        if last_modified is not None:
            response = response.with_last_modified(last_modified)
            modified = _seconds(last_modified)
        decision = _precondition(self.method, self.headers.get_all, response.headers.get("etag"), modified)
        if decision.status == 412:
            raise HTTPError(412, decision.reason)
        return response if decision.status == 304 else None

    @property
    def last_event_id(self):
        """str: the id of the last event that an EventSource has seen (Last-Event-ID, as UTF-8, with U+FFFD for what is
        not); None when it sent none."""
        value = self.header("last-event-id")
        return None if value is None else value.encode("latin-1").decode("utf-8", "replace")

    @property
    def cookies(self):
        """MultiValues: the cookies of all Cookie fields, in order (RFC 6265 5.4); never raises.

        Names and values are UTF-8, and U+FFFD for what is not; quotes and percent-encoding stay as they came. What has
        no name, or no ``=``, is left out.
        """
        cdef Http1Field field
        cdef size_t[1] at
        cdef list values = []
        if self.head == NULL:
            raise _unbound()
        if self._cookies is None:
            at[0] = self.parsed.fields_at
            while http1_field_next(self.head, self.parsed.fields_end, at, &field) == 1:
                if field.name_len == 6 and _same_name(field.name, b"cookie", 6):
                    values.append(PyUnicode_DecodeLatin1(field.value, field.value_len, NULL))
            self._cookies = _parse_cookies(values)
        return self._cookies

    @property
    def host(self):
        """str: host, perhaps port, from the target or the Host field (RFC 9110 7.2); empty when HTTP/1.0 sent none.
        With ``Proxies(host=True)`` the one that a trusted proxy names."""
        if self.head == NULL:
            raise _unbound()
        origin = self.get_origin()
        return self.own_host() if origin is None else origin[2]

    # ---- the body ----

    @property
    def body(self):
        """bytes: the whole body, transfer coding removed; read from its file where it is too large for memory.

        RuntimeError in a route with ``stream=True``: there it is read by ``stream()``.
        """
        if self.head == NULL:
            raise _unbound()
        if self.inflow is not None:
            raise RuntimeError("this route has stream=True: read its body by req.stream()")
        if self._body is None:
            self._body = (PyBytes_FromStringAndSize(self.body_data, self.body_len) if self.spool is None
                          else self.spool.read())
        return self._body

    def body_file(self):
        """A binary file, open for reading, that holds the whole body wherever it lies; close it, or let it go."""
        if self.head == NULL:
            raise _unbound()
        return _BytesIO(self.body) if self.spool is None else _open_spool(self.spool)

    def form(self):
        """MultiValues: the fields of a form, urlencoded or multipart (there: those that are no files).

        HTTPError 400 when it is none, 413 when it is too large, 415 for another Content-Type.
        """
        if self.head == NULL:
            raise _unbound()
        if self._form is None:
            self._form = _read_form(self)
        return self._form

    def multipart(self):
        """Parts: the fields and files of a multipart form (``web.forms``; extra ``weblatch[forms]``). Errors as form().
        """
        if self.head == NULL:
            raise _unbound()
        if self._parts is None:
            self._parts = _read_parts(self)
        return self._parts

    def stream(self):
        """The body in pieces of bytes, none of them empty, for ``for`` and ``async for``. In a route with
        ``stream=True`` they come as the client sends them, and the client waits while nobody takes them:
        ``ClientDisconnected`` when it goes away before the end, HTTPError when what it sends is no body."""
        if self.head == NULL:
            raise _unbound()
        return body_pieces(self.inflow, None if self.inflow is not None else self.body_file())

    def text(self):
        """str: the body as text, by the charset that Content-Type names, else UTF-8.

        HTTPError 415 for a charset other than UTF-8, US-ASCII and ISO-8859-1; 400 when the body is not in it.
        """
        charset = _charset(self.header("content-type", ""))
        if charset is None:
            raise HTTPError(415, "the body's charset is not supported: send UTF-8")
        try:
            return self.body.decode(charset)
        except UnicodeDecodeError:
            where = _current_exception().start
            raise HTTPError(400, f"the body is not {charset}: byte {where} cannot be decoded") from None

    def json(self, *, type=None):
        """The body parsed as JSON (RFC 8259), by ``App(json=...)`` where given, else by the standard library.

        ``type``: a msgspec.Struct, dataclass, TypedDict or other type that the value must have; the library msgspec
        parses and validates it then (extra ``weblatch[msgspec]``), and gives a value of that type.

        HTTPError 400, which says where, when it is not JSON. NaN and Infinity are not JSON. HTTPError 422, which names
        the place, when it is JSON of another type. WebError: msgspec is not installed.
        """
        body = self.body
        if not body:
            raise HTTPError(400, "the body is empty where JSON is expected")
        if type is not None:
            return _decode_as(body, type)
        loads = _json_loads if self.dispatcher is None else self.dispatcher.loads
        try:
            return loads(body)
        except HTTPError:
            raise
        except Exception:       # each JSON library has its own type for this
            exc = _current_exception()
            raise HTTPError(400, f"the body is not JSON: {exc}") from exc

    # ---- what the framework and the application add ----

    @property
    def params(self):
        """dict: what the route captured, and what before hooks added. A capture wins over a hook's entry."""
        return self.get_params()

    cdef dict get_params(self):
        if self.head == NULL:
            raise _unbound()
        if self._params is None:
            self._params = {}
            if self.endpoint is not None:
                self.endpoint.fill(self)
        return self._params

    @property
    def state(self):
        """SimpleNamespace: free for the application's use while the request lives."""
        if self.head == NULL:
            raise _unbound()
        if self._state is None:
            self._state = _SimpleNamespace()
        return self._state

    @property
    def session(self):
        """Session: a dict that this browser keeps in a signed cookie, and that is saved with the answer when it was
        changed. RuntimeError when the App has no ``web.sessions(...)``."""
        if self.head == NULL:
            raise _unbound()
        if self._session is None:
            if self.dispatcher is None:
                raise RuntimeError("req.session: this Request was made by hand, so that no App gives it a session; "
                                   "serve an App with web.sessions(key)")
            if self.dispatcher.sessions is None:
                raise RuntimeError("req.session: the App has no sessions; add the form web.sessions(key) to it")
            self._session = self.dispatcher.sessions.open(self)
        return self._session

    @property
    def app(self):
        """App: the application that answers; None for a request made by hand."""
        if self.head == NULL:
            raise _unbound()
        return None if self.dispatcher is None else self.dispatcher.app

    def url_for(self, to, /, **params):
        """str: the path of a route of the App that answers, ``app.url_for(to, **params)``."""
        app = self.app
        if app is None:
            raise RuntimeError("req.url_for(): no App answers this request, it was made by hand; use app.url_for()")
        return app.url_for(to, **params)

    @property
    def client(self):
        """(host, port) of the client: the peer, or whom it names where it is one of ``Server(proxies=...)``; port 0:
        the proxy does not tell it. None for a Unix socket or a request made by hand."""
        if self.head == NULL:
            raise _unbound()
        origin = self.get_origin()
        return self.own_client() if origin is None else origin[0]

    @property
    def scheme(self):
        """str: "https" when the connection is TLS, else "http"; or what a trusted proxy says that the client spoke."""
        if self.head == NULL:
            raise _unbound()
        origin = self.get_origin()
        return self.own_scheme() if origin is None else origin[1]

    cdef bint is_misdirected(self) except -1:
        """Predicate: its connection is for a name with other rules than those of the host that it is for."""
        return self.connection is not None and not self.connection.answers_for(self.own_host())

    # ---- behind proxies (web.proxies) ----

    cdef object own_client(self):
        return None if self.connection is None else address_tuple(&self.connection.client_address)

    cdef str own_scheme(self):
        return "https" if self.connection is not None and (<object>self.connection).is_tls else "http"

    cdef str own_host(self):
        return PyUnicode_DecodeLatin1(self.head + self.parsed.authority_at, self.parsed.authority_len, NULL)

    cdef object get_origin(self):
        """(client, scheme, host), by the fields of a trusted proxy where it is one that has sent this; None: the server
        believes nobody's."""
        cdef object proxies = None if self.dispatcher is None else self.dispatcher.proxies
        cdef Networks networks
        if proxies is None:
            return None
        origin = self._origin
        if origin is None:
            origin = (self.own_client(), self.own_scheme(), self.own_host())
            networks = proxies.networks
            if self.connection is not None and networks.hold_client(self.connection):
                origin = proxies.origin(origin, self.fields_of(proxies.names))
            self._origin = origin       # not before: other threads may look, and what raised must not leave the proxy's
        return origin

    cdef dict fields_of(self, frozenset names):
        """Of the fields with these names, in lower case, those that were sent: name -> value, several lines as one list
        (RFC 9110 5.3)."""
        cdef Http1Field field
        cdef size_t[1] at
        cdef dict found = {}
        at[0] = self.parsed.fields_at
        while http1_field_next(self.head, self.parsed.fields_end, at, &field) == 1:
            name = PyUnicode_DecodeLatin1(field.name, field.name_len, NULL).lower()
            if name in names:
                value = PyUnicode_DecodeLatin1(field.value, field.value_len, NULL)
                found[name] = f"{found[name]},{value}" if name in found else value
        return found

    def __repr__(self):
        if self.head == NULL:
            return "<Request, unbound>"
        return f"<Request {self.method} {self.raw_path}>"


cdef dict _charsets = {"": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "us-ascii", "ascii": "us-ascii",
                       "iso-8859-1": "iso-8859-1", "latin-1": "iso-8859-1", "latin1": "iso-8859-1"}


cdef object _charset(str content_type):
    """The codec for a Content-Type (RFC 9110 8.3.2); None for a charset that is not in the table.

    A table and not codecs.lookup(): the peer chooses, and among Python's codecs are some whose time is quadratic.
    """
    cdef str part
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return _charsets.get(value.strip().strip('"').lower())
    return "utf-8"
