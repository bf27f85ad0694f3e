# Router: from a method and a path to the first route, in the order of registration, that matches.
#
# A path is its segments: the raw path without its first '/', split at '/', each percent-decoded. So an encoded slash is
# no separator; empty and dot segments are segments like others ("/a" and "/a/" differ, nothing is collapsed).
#
# What is found how
#   fixed    routes without captures, by one look-up of the whole decoded path in a hash table
#   opening  routes with captures that begin with a literal segment, by one look-up of the path's first segment
#   open     routes whose first segment is a capture (or that are a bare *), for first segments not in the table
# Each entry is a list in the order of registration; the lists under `opening` have the open routes merged in.
#
# Why `fixed` may be asked first, though a route with captures may stand before: a fixed route matches exactly one path,
# so if an earlier route of the same method matched that path, the fixed route could never be reached. That is an error
# at start-up (web.routing checks it before a Router is made). So of two that match, the fixed one was registered first.
#
# Invariants: a Router never changes after __init__. Its tables borrow: the Endpoints live as long as the tuple
# `endpoints`, the keys as long as the list `keys`; therefore the collector must not clear it (no_gc_clear). The same
# holds for an Endpoint's parts and `texts`. Matching makes no Python object and cannot fail; captures are made into
# objects afterwards.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from uuid import UUID as _UUID

cdef enum PartKind:
    PART_LITERAL = 1
    PART_TEXT = 2           # :name        one segment, not empty
    PART_INT = 3            # :name:int    -?[0-9]+ that fits 64 bits, signed
    PART_UUID = 4           # :name:uuid   8-4-4-4-12 hexadecimal digits (RFC 9562 4)
    PART_REST = 5           # *            what remains, one segment or more

cdef enum:
    PARTS_MAX = 32          # segments of a pattern; web.routing refuses more
    DECODED_MAX = 1024      # longer percent-encoded paths are decoded on the heap
    FIRST_OTHER_BIT = 16    # bits of a method set: METHOD_GET ... METHOD_TRACE by their number, others from here

cdef struct RoutePart:
    int kind
    const char* text        # PART_LITERAL
    size_t length

cdef struct RouteText:
    const char* at
    size_t length

cdef struct RoutePath:
    RouteText raw
    RouteText decoded            # == raw when nothing is encoded; an encoded slash is kept as %2F
    int count               # segments; 0: the path does not begin with '/' (OPTIONS *)
    RouteText[PARTS_MAX] segments    # decoded; those that fit
    char* heap              # what decoded points into, when it did not fit local; freed by path_free
    char[DECODED_MAX] local


cdef int route_path_split(RoutePath* path, const char* raw, size_t length) noexcept nogil:
    """1, or -500 out of memory. route_path_free() afterwards, whatever the result; until then the struct stays."""
    cdef char* room
    path.raw.at = raw
    path.raw.length = length
    path.heap = NULL
    path.count = 0
    path.decoded = path.raw
    if memchr(raw, c'%', length) != NULL:
        room = path.local
        if length > DECODED_MAX:
            room = path.heap = <char*>PyMem_RawMalloc(length)
            if room == NULL:
                return -500
        path.decoded.at = room
        path.decoded.length = percent_decode(room, raw, length, 1)
    path.count = _segments_of(path.decoded, path.segments)
    return 1


cdef void route_path_free(RoutePath* path) noexcept nogil:
    if path.heap != NULL:
        PyMem_RawFree(path.heap)
        path.heap = NULL


cdef int _segments_of(RouteText text, RouteText* segments) noexcept nogil:
    """How many segments the text has; the first PARTS_MAX are stored."""
    cdef const char* at = text.at
    cdef const char* end = text.at + text.length
    cdef const char* stop
    cdef int count = 0
    if text.length == 0 or at[0] != c'/':
        return 0
    while True:
        at += 1
        stop = <const char*>memchr(at, c'/', end - at)
        if stop == NULL:
            stop = end
        if count < PARTS_MAX:
            segments[count].at = at
            segments[count].length = stop - at
        count += 1
        if stop == end:
            return count
        at = stop


cdef bint _read_int(RouteText text, long long* number) noexcept nogil:
    """Predicate: -?[0-9]+ within 64 bits, signed. No sign '+', no spaces, no '_', ASCII digits only."""
    cdef size_t at = 0
    cdef uint64_t value = 0
    cdef uint64_t digit, most
    cdef bint negative = text.length > 0 and text.at[0] == c'-'
    if negative:
        at = 1
    if at == text.length or text.length - at > 19:
        return 0
    most = (<uint64_t>1 << 63) if negative else (<uint64_t>1 << 63) - 1
    while at < text.length:
        if not c'0' <= text.at[at] <= c'9':
            return 0
        digit = text.at[at] - c'0'
        value = value * 10 + digit      # 19 digits stay below 2**64
        at += 1
    if value > most:
        return 0
    number[0] = <long long>(<uint64_t>0 - value if negative else value)
    return 1


cdef bint _is_uuid(RouteText text) noexcept nogil:
    cdef int at
    if text.length != 36:
        return 0
    for at in range(36):
        if at == 8 or at == 13 or at == 18 or at == 23:
            if text.at[at] != c'-':
                return 0
        elif _hex_digit(text.at[at]) < 0:
            return 0
    return 1


cdef inline bint _part_matches(const RoutePart* part, RouteText segment) noexcept nogil:
    cdef long long[1] number
    if part.kind == PART_LITERAL:
        return segment.length == part.length and memcmp(segment.at, part.text, part.length) == 0
    if part.kind == PART_TEXT:
        return segment.length > 0
    if part.kind == PART_INT:
        return _read_int(segment, number)
    return _is_uuid(segment)


@cython.final
@cython.no_gc_clear
cdef class Endpoint:
    """What a route leads to, compiled. ``Endpoint(methods, pattern, parts, handler, with_params, label, ...)``

    ``parts``: for each segment of the pattern (kind, text): 1 literal, 2 text, 3 int, 4 uuid, 5 the rest; text is the
    literal or the capture's name. No parts: the bare ``*``. web.routing makes these; it has checked everything.
    ``is_scope``: it stands for a group where no route matches, so that the group's hooks run for what lies below it.
    """
    cdef readonly tuple methods
    cdef readonly str pattern
    cdef readonly object handler
    cdef readonly str label         # how messages name the handler
    cdef bint with_params           # handler(req, params), else handler(req)
    cdef readonly bint is_async
    cdef readonly long long max_body    # bytes that a body may have; -1: as the server says
    cdef readonly bint streams      # the application reads the body as it comes
    cdef readonly bint cancels      # an async handler is cancelled when its client goes away
    cdef readonly Chain chain       # hooks of its own and of its groups; None: it has none
    cdef readonly Endpoint scope    # the group that it lies in, if that has hooks
    cdef readonly bint is_scope     # no route, but what lies below the prefix of a group: the pattern is the prefix
    cdef bint in_task               # the handler or something in the chain is async
    cdef bint told_slow             # the log has named it as one that holds the loop
    cdef int blocking               # 1: runs in the pool, 0: does not, -1: as the server says
    cdef bint has_rest
    cdef bint is_fixed
    cdef int count
    cdef RoutePart[PARTS_MAX] parts
    cdef list texts                 # the text of each part, a literal or a capture's name, into which parts points

    def __init__(self, tuple methods not None, str pattern not None, tuple parts not None, handler,
                 bint with_params=False, str label not None="", *, bint is_async=False, blocking=None,
                 bint cancels=True, max_body=None, bint streams=False, Chain chain=None, Endpoint scope=None,
                 bint is_scope=False):
        cdef const char* text
        cdef Py_ssize_t[1] length
        cdef int kind
        if len(parts) > PARTS_MAX:
            raise ValueError(f"a pattern may have {PARTS_MAX} segments")
        self.methods = methods
        self.pattern = pattern
        self.handler = handler
        self.with_params = with_params
        self.label = label
        self.is_async = is_async
        self.blocking = -1 if blocking is None else bool(blocking)
        self.cancels = cancels
        self.max_body = -1 if max_body is None else max_body
        self.streams = streams
        self.chain = chain
        self.scope = scope
        self.is_scope = is_scope
        self.in_task = is_async or (chain is not None and chain.is_async)
        self.is_fixed = is_scope or len(parts) > 0
        self.has_rest = len(parts) == 0
        self.count = 0
        self.texts = [name for _, name in parts]
        for kind, name in parts:
            if not PART_LITERAL <= kind <= PART_REST or (kind == PART_REST and self.count + 1 != len(parts)):
                raise ValueError(f"{pattern}: part {self.count} is of no kind, or * is not the last")
            text = PyUnicode_AsUTF8AndSize(name, length)    # lives as long as the name, which texts holds
            self.parts[self.count].kind = kind
            self.parts[self.count].text = text
            self.parts[self.count].length = length[0]
            self.count += 1
            self.is_fixed = self.is_fixed and kind == PART_LITERAL
            self.has_rest = self.has_rest or kind == PART_REST

    cdef object call(self, Request request):
        """What the handler returns: a coroutine, where it is async."""
        if self.with_params:
            return self.handler(request, request.get_params())
        return self.handler(request)

    cdef bint matches(self, const RoutePath* path) noexcept nogil:
        """Predicate. Fixed routes are found otherwise, and are right here too."""
        cdef int fixed = self.count
        cdef int i
        if self.count == 0:
            return 1                                # the bare *, which matches the * of OPTIONS * too
        if self.has_rest:
            fixed -= 1
            if path.count < self.count:
                return 0
        elif path.count != self.count:
            return 0
        for i in range(fixed):
            if not _part_matches(&self.parts[i], path.segments[i]):
                return 0
        return 1

    cdef bint opens(self, const RoutePath* path) noexcept nogil:
        """Predicate of a scope: the path is its prefix, or lies below it."""
        cdef int i
        if path.count < self.count:
            return 0
        for i in range(self.count):
            if not _part_matches(&self.parts[i], path.segments[i]):
                return 0
        return 1

    cdef str name(self):
        """How messages say what was to answer."""
        return "no route" if self.is_scope else f"handler {self.label}, route {self.pattern}"

    cdef int fill(self, Request request) except -1:
        """Puts the captures of a path that matches into request._params, which is there."""
        cdef RoutePath path
        if self.is_fixed:
            return 1
        try:
            if route_path_split(&path, request.head + request.parsed.path_at, request.parsed.path_len) < 0:
                raise MemoryError()
            self.capture(&path, request._params)
        finally:
            route_path_free(&path)
        return 1

    cdef int capture(self, const RoutePath* path, dict params) except -1:
        cdef RouteText[PARTS_MAX] raw
        cdef RouteText rest
        cdef long long[1] number
        cdef int i
        cdef int kind
        if self.count == 0:
            rest = path.decoded
            if path.count > 0:                      # as for the pattern /*
                rest.at += 1
                rest.length -= 1
            params["*"] = PyUnicode_DecodeUTF8(rest.at, rest.length, b"replace")
            return 1
        _segments_of(path.raw, raw)                 # separators are the same in both
        for i in range(self.count):
            kind = self.parts[i].kind
            if kind == PART_TEXT:
                value = percent_decoded(raw[i].at, raw[i].length, 0)
            elif kind == PART_INT:
                _read_int(path.segments[i], number)
                value = number[0]
            elif kind == PART_UUID:
                value = _UUID(percent_decoded(raw[i].at, raw[i].length, 0))
            elif kind == PART_REST:                 # encoded slashes stay %2F: here a '/' is a separator
                rest.at = path.segments[i].at
                rest.length = path.decoded.at + path.decoded.length - rest.at
                params["*"] = PyUnicode_DecodeUTF8(rest.at, rest.length, b"replace")
                continue
            else:
                continue
            params[self.texts[i]] = value
        return 1

    def __repr__(self):
        return f"<Endpoint {' '.join(self.methods)} {self.pattern}>"


# ---- a table from bytes to lists of routes: open addressing, at most half full, built once ----

cdef struct RouteItem:
    uint64_t methods            # bits
    PyObject* endpoint          # borrowed

cdef struct RouteBucket:
    int count
    RouteItem* items

cdef struct RouteSlot:
    const char* key             # borrowed; NULL: free
    size_t length
    uint32_t hash
    RouteBucket bucket

cdef struct RouteTable:
    size_t mask
    size_t longest              # longer keys need no look
    RouteSlot* slots                 # NULL: nothing was ever put in


cdef inline uint32_t _route_hash(const char* key, size_t length) noexcept nogil:
    """FNV-1a. Peers cannot crowd the table: its keys are the application's."""
    cdef uint32_t value = 2166136261
    cdef size_t i
    for i in range(length):
        value = (value ^ <unsigned char>key[i]) * 16777619
    return value


cdef int route_table_init(RouteTable* table, size_t keys) except -1:
    cdef size_t size = 8
    while size < 2 * keys:
        size *= 2
    table.slots = <RouteSlot*>PyMem_RawCalloc(size, sizeof(RouteSlot))
    if table.slots == NULL:
        raise MemoryError()
    table.mask = size - 1
    table.longest = 0
    return 1


cdef void route_table_free(RouteTable* table) noexcept:
    cdef size_t i
    if table.slots == NULL:
        return
    for i in range(table.mask + 1):
        PyMem_RawFree(table.slots[i].bucket.items)
    PyMem_RawFree(table.slots)
    table.slots = NULL


cdef inline RouteSlot* _route_slot(const RouteTable* table, const char* key, size_t length) noexcept nogil:
    """The slot that holds the key, or the free one where it belongs."""
    cdef uint32_t hash = _route_hash(key, length)
    cdef size_t at = hash & table.mask
    cdef RouteSlot* slot
    while True:
        slot = &table.slots[at]
        if slot.key == NULL:
            return slot
        if slot.hash == hash and slot.length == length and memcmp(slot.key, key, length) == 0:
            return slot
        at = (at + 1) & table.mask


cdef inline RouteBucket* route_table_find(const RouteTable* table, const char* key, size_t length) noexcept nogil:
    """NULL when the key is not there."""
    cdef RouteSlot* slot
    if table.slots == NULL or length > table.longest:
        return NULL
    slot = _route_slot(table, key, length)
    return &slot.bucket if slot.key != NULL else NULL


cdef RouteBucket* route_table_make(RouteTable* table, bytes key) noexcept:
    """The bucket of a key, made where there is none; the caller keeps the key alive and made the table large enough."""
    cdef RouteSlot* slot = _route_slot(table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    if slot.key == NULL:
        slot.key = PyBytes_AS_STRING(key)
        slot.length = PyBytes_GET_SIZE(key)
        slot.hash = _route_hash(slot.key, slot.length)
        table.longest = max(table.longest, slot.length)
    return &slot.bucket


cdef int route_bucket_add(RouteBucket* bucket, uint64_t methods, Endpoint endpoint) except -1:
    cdef RouteItem* items = <RouteItem*>PyMem_RawRealloc(bucket.items, (bucket.count + 1) * sizeof(RouteItem))
    if items == NULL:
        raise MemoryError()
    bucket.items = items
    items[bucket.count].methods = methods
    items[bucket.count].endpoint = <PyObject*>endpoint
    bucket.count += 1
    return 1


@cython.final
@cython.no_gc_clear
cdef class Router:
    """Finds the route for a method and a path. ``Router(endpoints)``, in the order of registration.

    Immutable. web.routing.make_router() makes one from forms, after it has checked them.
    """
    cdef readonly tuple endpoints
    cdef list keys
    cdef list other_methods         # names of methods that http1 does not know, in the order of their bits
    cdef RouteTable fixed
    cdef RouteTable opening
    cdef RouteBucket open
    cdef uint64_t known             # all methods of all routes

    def __cinit__(self):
        self.fixed.slots = NULL
        self.opening.slots = NULL
        self.open.items = NULL
        self.open.count = 0

    def __init__(self, endpoints):
        cdef Endpoint endpoint
        if self.endpoints is not None:
            raise TypeError("a Router never changes")
        self.endpoints = tuple(endpoints)
        self.keys = []
        self.other_methods = []
        fixed = set()
        opening = set()
        for endpoint in self.endpoints:
            if endpoint is None:
                raise TypeError("Router(endpoints): None among them")
            if endpoint.is_fixed:
                fixed.add(self._whole_key(endpoint))
            elif endpoint.count > 0 and endpoint.parts[0].kind == PART_LITERAL:
                opening.add(self._first_key(endpoint))
        route_table_init(&self.fixed, len(fixed))
        route_table_init(&self.opening, len(opening))
        for key in sorted(opening):
            self.keys.append(key)
            route_table_make(&self.opening, key)
        for endpoint in self.endpoints:
            self._add(endpoint)

    def __dealloc__(self):
        route_table_free(&self.fixed)
        route_table_free(&self.opening)
        PyMem_RawFree(self.open.items)

    cdef bytes _first_key(self, Endpoint endpoint):
        return (<str>endpoint.texts[0]).encode()

    cdef bytes _whole_key(self, Endpoint endpoint):
        return ("/" + "/".join(endpoint.texts)).encode()

    cdef int _add(self, Endpoint endpoint) except -1:
        cdef uint64_t methods = 0
        cdef size_t i
        cdef bytes key
        for name in endpoint.methods:
            methods |= <uint64_t>1 << self._bit_for(name)
        self.known |= methods
        if endpoint.is_fixed:
            key = self._whole_key(endpoint)
            self.keys.append(key)
            route_bucket_add(route_table_make(&self.fixed, key), methods, endpoint)
        elif endpoint.count > 0 and endpoint.parts[0].kind == PART_LITERAL:
            key = self._first_key(endpoint)
            route_bucket_add(route_table_make(&self.opening, key), methods, endpoint)
        else:                                   # may match under every opening segment as well
            route_bucket_add(&self.open, methods, endpoint)
            for i in range(self.opening.mask + 1):
                if self.opening.slots[i].key != NULL:
                    route_bucket_add(&self.opening.slots[i].bucket, methods, endpoint)
        return 1

    cdef int _bit_for(self, str name) except -1:
        if name in _method_names:
            return _method_names.index(name)
        if name not in self.other_methods:
            if FIRST_OTHER_BIT + len(self.other_methods) == 64:
                raise ValueError("more than 48 methods that HTTP itself does not define")
            self.other_methods.append(name)
        return FIRST_OTHER_BIT + self.other_methods.index(name)

    cdef uint64_t method_bit(self, int method, const char* name, size_t length) except 0:
        """The bit of a method. 1, which no route has, for a method that no route names."""
        cdef str other
        if method != METHOD_OTHER:
            return <uint64_t>1 << method
        other = PyUnicode_DecodeLatin1(name, length, NULL)
        if other in self.other_methods:
            return <uint64_t>1 << (FIRST_OTHER_BIT + <int>self.other_methods.index(other))
        return 1

    cdef inline RouteBucket* _candidates(self, const RoutePath* path) noexcept nogil:
        """The routes with captures that may match, in order."""
        cdef RouteBucket* bucket = NULL
        if path.count > 0:
            bucket = route_table_find(&self.opening, path.segments[0].at, path.segments[0].length)
        return bucket if bucket != NULL else &self.open

    cdef PyObject* find_fixed(self, uint64_t bit, const char* path, size_t length) noexcept nogil:
        """The route without captures for a decoded path; NULL: none. Borrowed."""
        cdef RouteBucket* bucket = route_table_find(&self.fixed, path, length)
        cdef int i
        if bucket != NULL:
            for i in range(bucket.count):
                if bucket.items[i].methods & bit:
                    return bucket.items[i].endpoint
        return NULL

    cdef PyObject* find(self, uint64_t bit, const RoutePath* path) noexcept nogil:
        """The first route that matches; NULL: none. Borrowed."""
        cdef PyObject* found = self.find_fixed(bit, path.decoded.at, path.decoded.length)
        cdef RouteBucket* bucket
        cdef int i
        if found != NULL:
            return found
        bucket = self._candidates(path)
        for i in range(bucket.count):
            if bucket.items[i].methods & bit and (<Endpoint>bucket.items[i].endpoint).matches(path):
                return bucket.items[i].endpoint
        return NULL

    cdef Endpoint route(self, int method, const char* name, size_t name_length, const char* raw, size_t length):
        """The first route, or None. HEAD is answered by a GET route where no HEAD route matches (RFC 9110 9.3.2)."""
        cdef RoutePath path
        cdef PyObject* found
        cdef uint64_t bit = self.method_bit(method, name, name_length)
        found = self.find_fixed(bit, raw, length)      # nothing encoded, nothing captured: the usual case
        if found != NULL and memchr(raw, c'%', length) == NULL:
            return <Endpoint>found
        try:
            if route_path_split(&path, raw, length) < 0:
                raise MemoryError()
            found = self.find(bit, &path)
            if found == NULL and method == METHOD_HEAD:
                found = self.find(<uint64_t>1 << METHOD_GET, &path)
        finally:
            route_path_free(&path)
        return None if found == NULL else <Endpoint>found

    cdef uint64_t allowed(self, const char* raw, size_t length) except? 0:
        """The methods of all routes that match the path, whatever the method."""
        cdef RoutePath path
        cdef RouteBucket* bucket
        cdef uint64_t methods = 0
        cdef int i
        try:
            if route_path_split(&path, raw, length) < 0:
                raise MemoryError()
            bucket = route_table_find(&self.fixed, path.decoded.at, path.decoded.length)
            if bucket != NULL:
                for i in range(bucket.count):
                    methods |= bucket.items[i].methods
            bucket = self._candidates(&path)
            for i in range(bucket.count):
                if (<Endpoint>bucket.items[i].endpoint).matches(&path):
                    methods |= bucket.items[i].methods
        finally:
            route_path_free(&path)
        return methods

    cdef Endpoint of_any_method(self, const char* raw, size_t length):
        """The first route that matches the path, whatever the method; None: there is none."""
        cdef RoutePath path
        cdef PyObject* found
        try:
            if route_path_split(&path, raw, length) < 0:
                raise MemoryError()
            found = self.find(~<uint64_t>0, &path)
        finally:
            route_path_free(&path)
        return None if found == NULL else <Endpoint>found

    cdef str allow(self, uint64_t methods):
        """The value of Allow (RFC 9110 10.2.1): GET brings HEAD, and OPTIONS is always answered."""
        if methods & (<uint64_t>1 << METHOD_GET):
            methods |= <uint64_t>1 << METHOD_HEAD
        methods |= <uint64_t>1 << METHOD_OPTIONS
        names = [name for bit, name in enumerate(_method_names) if name and methods >> bit & 1]
        names += [name for bit, name in enumerate(self.other_methods) if methods >> (FIRST_OTHER_BIT + bit) & 1]
        return ", ".join(names)

    def match(self, str method not None, str path not None):
        """(endpoint, params) of the first route for a method and a raw path, or None."""
        cdef RoutePath split
        cdef dict params = {}
        cdef bytes name = method.encode()
        cdef bytes raw = path.encode()
        cdef Endpoint endpoint = self.route(_method_number(method), name, len(name), raw, len(raw))
        if endpoint is None:
            return None
        if not endpoint.is_fixed:
            try:
                if route_path_split(&split, raw, len(raw)) < 0:
                    raise MemoryError()
                endpoint.capture(&split, params)
            finally:
                route_path_free(&split)
        return endpoint, params

    def repeat(self, str method not None, str path not None, Py_ssize_t n):
        """Finds the route n times in C, without captures, for measuring; whether there is one."""
        cdef bytes name = method.encode()
        cdef bytes raw = path.encode()
        cdef int number = _method_number(method)
        cdef const char* raw_at = raw
        cdef size_t raw_length = len(raw)
        cdef Endpoint endpoint = None
        for _ in range(n):
            endpoint = self.route(number, name, len(name), raw_at, raw_length)
        return endpoint is not None


cdef int _method_number(str method) except -1:
    return _method_names.index(method) if method and method in _method_names else METHOD_OTHER
