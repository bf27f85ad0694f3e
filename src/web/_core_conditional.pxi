# Conditions and ranges (RFC 9110 13, 14): from an answer with 200 to the one that is sent: 206, 304, 412, 416, or
# itself. It is the last step of the pipeline, in every way in which a handler runs.
#
# An answer takes part when the request is GET or HEAD and the Response has a validator: ETag or Last-Modified. A file
# gets both from its mark, if the application did not give them. What is to be done is decided in web.conditional; here
# it is carried out. `conditional` may be asked twice about one answer: what it gives has another status, and is left
# alone.
#
# A file is looked at by its path and not opened: a client that has it already costs one system call. _FileParts keeps
# the mark that the parts were chosen for, and the whole answer, for the case that it is another file when it is opened.

cimport cython
from cpython.list cimport PyList_GET_SIZE

from web.conditional import decide as _decide, tag_as_known as _tag_as_known
from web.ranges import content_range as _content_range, multipart_heads as _multipart_heads
from web.vary import add_vary as _add_vary

# Fields about content that is not sent. An error that kept Cache-Control would be kept by caches as the file would.
# Digests of the content (RFC 9530 2, RFC 1864) are those of all of it; Repr-Digest stays right for a part (RFC 9530 3).
cdef frozenset _NOT_WITH_206 = frozenset({"content-digest", "content-md5"})
cdef frozenset _NOT_WITH_304 = _NOT_WITH_206 | {"content-type", "content-encoding", "content-language"}
cdef frozenset _NOT_WITH_ERRORS = _NOT_WITH_304 | {
    "accept-ranges", "cache-control", "content-disposition", "content-location", "digest", "etag", "expires",
    "last-modified", "repr-digest"}

cdef enum:
    YOUNG_FILE = 2000000000     # ns: until then it may change again within one tick of its file system's clock


@cython.final
cdef class _FileParts:
    """Which parts of a file are sent."""
    cdef web_file_mark mark     # of the file that they were chosen from
    cdef Response whole         # what is sent where it is not that file any more
    cdef list offsets
    cdef list lengths
    cdef list heads             # bytes before each part; None where there is but one
    cdef bytes tail             # bytes behind the last; empty where there is but one
    cdef int64_t length         # of all of that


cdef Response conditional(Dispatcher dispatcher, Request request, Response response):
    """What is sent instead of a Response, or itself."""
    outcome = judged(request, response)
    if type(outcome) is Response:
        return <Response>outcome
    return refusal(dispatcher._settle(request, request.endpoint, outcome), response)


cdef object judged(Request request, Response response):
    """A Response, or a Fault: 412 or 416. What web.conditional raises goes through: nothing of it should."""
    cdef web_file_mark mark
    cdef Response whole = response
    cdef object size = None
    cdef bint is_file = response.file_name != NULL
    if response.status != 200 or request.parsed.method != METHOD_GET and request.parsed.method != METHOD_HEAD:
        return whole
    if is_file:
        if web_mark_target(response.file_name, &mark) != WEB_IS_FILE:
            return whole        # answer_file finds out why
        response = response.with_lines(validator_lines(response, &mark))
        size = mark.size
    elif response._producer is None:
        size = PyBytes_GET_SIZE(response._body)
        if response._validators is not None:
            response = response.with_lines(response._validators)
    fields = response.headers
    if fields.get("accept-ranges") == "none":       # RFC 9110 14.3: the application's own word
        size = None
    decision = _decide(
        request.method, request.headers.get_all, fields.get("etag"), fields.get("last-modified"), size)
    if decision.status == 206:
        response = _with_spans(response, decision.spans, size, &mark)
        if is_file:
            response._parts.whole = whole
        return response
    if decision.status == 304:
        tag = fields.get("etag")
        known = None if tag is None else _tag_as_known(request.headers.get_all("if-none-match"), tag)
        if known != tag:
            response = response.with_header("ETag", known)
        return _without_fields(response, _NOT_WITH_304).with_status(304)
    if decision.status != 200:
        return _make_fault(decision.status, decision.reason, _field_line("Content-Range", f"bytes */{size}")
                           if decision.status == 416 else _NO_LINES)
    return whole


def answer_conditions(Request request not None, dict params, Response response not None):
    """The same as an after hook, before those that are to see what is sent (``After.final``)."""
    if request.parsed.seen & HTTP1_SAID_CONDITION:
        return conditional(request.dispatcher, request, response)
    return response


cdef Response _with_spans(Response response, tuple spans, int64_t size, const web_file_mark* mark):
    """206 (15.3.7): one part, or several as multipart/byteranges."""
    cdef Response partial
    cdef _FileParts parts = _FileParts.__new__(_FileParts)
    parts.tail = _NO_LINES
    response = _without_fields(response, _NOT_WITH_206)
    if len(spans) == 1:
        partial = response.with_lines(_field_line("Content-Range", _content_range(spans[0], size)))
    else:
        kind, parts.heads, parts.tail = _multipart_heads(spans, size, response.headers.get("content-type"))
        partial = response.with_header("Content-Type", kind)
    partial.status = 206
    if response.file_name == NULL:
        partial._body = _joined_spans(response._body, spans, parts)
        return partial
    parts.mark = mark[0]
    parts.offsets = [span.first for span in spans]
    parts.lengths = [span.length for span in spans]
    parts.length = sum(parts.lengths) + len(parts.tail)
    if parts.heads is not None:
        parts.length += sum(map(len, parts.heads))
    partial._parts = parts
    return partial


cdef bytes _joined_spans(bytes body, tuple spans, _FileParts parts):
    """Those parts of a body in memory."""
    cdef list pieces = []
    cdef Py_ssize_t i = 0
    for span in spans:
        if parts.heads is not None:
            pieces.append(parts.heads[i])
        pieces.append(body[span.first:span.last + 1])
        i += 1
    pieces.append(parts.tail)
    return b"".join(pieces)


cdef Response _without_fields(Response response, frozenset names):
    """A copy without the fields of these names, which are in lower case."""
    cdef Response copy = response._copy()
    for name in response.headers:
        if name.lower() in names:
            copy._head = _lines_without(copy._head, name)
    return copy


cdef Response refusal(Response made, Response response):
    """412 (15.5.13) or 416 (15.5.17): an error that was made for it, with what after hooks gave to the answer."""
    there = made.headers
    for name, value in response.headers.items():
        lower = name.lower()
        if lower == "vary":
            made = _add_vary(made, value)
        elif lower not in _NOT_WITH_ERRORS and lower not in there:
            made = made.with_lines(_field_line(name, value))
    close_producer(response._producer)
    return made


# ---- the validators of a file ----

cdef bytes validator_lines(Response response, const web_file_mark* mark):
    """What says which file this is, and in which state (8.8), as far as the application did not say it."""
    cdef bytes lines = _NO_LINES
    fields = response.headers
    if "etag" not in fields:
        lines = _field_line("ETag", _file_tag(mark))
    if "last-modified" not in fields:
        lines += _last_modified_line(mark)
    if "accept-ranges" not in fields:
        lines += b"Accept-Ranges: bytes\r\n"
    return lines


cdef str _file_tag(const web_file_mark* mark):
    """An entity tag from the file's size and times. Strong, but for a file that changed just now (8.8.1): it could
    change once more without getting other times. ctime is in it because mtime can be set, and often is, to one value
    for all versions of a file; what a tag made of times costs is that two machines give one file two tags."""
    cdef uint64_t mixed = <uint64_t>mark.modified_ns * 0x9e3779b97f4a7c15ULL
    mixed = (mixed ^ (mixed >> 32) ^ <uint64_t>mark.changed_ns) * 0xd6e8feb86659fd93ULL
    mixed = (mixed ^ (mixed >> 32)) * 0xd6e8feb86659fd93ULL
    mixed ^= mixed >> 32
    return f"{'W/' if web_mark_age_ns(mark) < YOUNG_FILE else ''}\"{mark.size:x}-{mixed:016x}\""


cdef bytes _last_modified_line(const web_file_mark* mark):
    """Never a time that is yet to come (8.8.2.1)."""
    cdef char[HTTP1_DATE_LENGTH] date
    cdef int64_t now = web_unix_seconds()
    cdef int64_t modified = mark.modified_ns // 1000000000
    http1_date(date, modified if modified < now else now)
    return b"Last-Modified: " + date[:HTTP1_DATE_LENGTH] + b"\r\n"
