# What answers are made of: status lines, numbers, dates, and the predicates that keep CR, LF and NUL out of heads; and
# the walk over the fields of a parsed head. Pure: no I/O, no allocation, no GIL. The table of status lines is written
# once, when the module is imported, and only read afterwards.

cdef enum:
    HTTP1_DATE_LENGTH = 29

cdef struct Http1Field:
    const char* name
    size_t name_len
    const char* value               # white space trimmed
    size_t value_len

cdef struct Http1StatusLine:
    char text[60]
    size_t length

cdef Http1StatusLine _http1_status_lines[500]


cdef int _http1_fill_status_lines() except -1:
    # RFC 9110 15 and the IANA registry. Other codes get no reason phrase, but its space (RFC 9112 4).
    reasons = {
        100: b"Continue", 101: b"Switching Protocols", 102: b"Processing", 103: b"Early Hints",
        200: b"OK", 201: b"Created", 202: b"Accepted", 203: b"Non-Authoritative Information", 204: b"No Content",
        205: b"Reset Content", 206: b"Partial Content", 207: b"Multi-Status", 208: b"Already Reported", 226: b"IM Used",
        300: b"Multiple Choices", 301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified",
        305: b"Use Proxy", 307: b"Temporary Redirect", 308: b"Permanent Redirect",
        400: b"Bad Request", 401: b"Unauthorized", 402: b"Payment Required", 403: b"Forbidden", 404: b"Not Found",
        405: b"Method Not Allowed", 406: b"Not Acceptable", 407: b"Proxy Authentication Required",
        408: b"Request Timeout", 409: b"Conflict", 410: b"Gone", 411: b"Length Required", 412: b"Precondition Failed",
        413: b"Content Too Large", 414: b"URI Too Long", 415: b"Unsupported Media Type", 416: b"Range Not Satisfiable",
        417: b"Expectation Failed", 421: b"Misdirected Request", 422: b"Unprocessable Content", 423: b"Locked",
        424: b"Failed Dependency", 425: b"Too Early", 426: b"Upgrade Required", 428: b"Precondition Required",
        429: b"Too Many Requests", 431: b"Request Header Fields Too Large", 451: b"Unavailable For Legal Reasons",
        500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable",
        504: b"Gateway Timeout", 505: b"HTTP Version Not Supported", 506: b"Variant Also Negotiates",
        507: b"Insufficient Storage", 508: b"Loop Detected", 511: b"Network Authentication Required",
    }
    cdef bytes line
    cdef size_t i
    for i in range(500):
        line = b"HTTP/1.1 %d %s\r\n" % (100 + i, reasons.get(100 + i, b""))
        _http1_status_lines[i].length = <size_t>len(line)
        memcpy(_http1_status_lines[i].text, <const char*>line, <size_t>len(line))
    return 1


_http1_fill_status_lines()


cdef const char* http1_status_line(int status, size_t* length) noexcept nogil:
    # "HTTP/1.1 200 OK\r\n"; never NULL. A status outside 100..599 is a mistake of ours and answers as 500.
    cdef const Http1StatusLine* line
    if status < 100 or status > 599:
        status = 500
    line = &_http1_status_lines[status - 100]
    length[0] = line.length
    return line.text


cdef size_t http1_decimal(char* out, unsigned long long n) noexcept nogil:
    # Writes n in decimal, without terminator; the number of digits, at most 20.
    cdef char digits[20]
    cdef size_t at = 20
    while True:
        at -= 1
        digits[at] = <char>(c'0' + n % 10)
        n = n // 10
        if n == 0:
            break
    memcpy(out, digits + at, 20 - at)
    return 20 - at


cdef inline void _http1_two_digits(char* out, unsigned int n) noexcept nogil:
    out[0] = <char>(c'0' + n // 10)
    out[1] = <char>(c'0' + n % 10)


cdef void http1_date(char* out, long long unix_seconds) noexcept nogil:
    # "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), always 29 bytes, no terminator, no locale. Times outside the
    # years 1970 to 9999 become the nearest that is inside. The calendar counts days from 0000-03-01, so that the leap
    # day comes last in its year.
    cdef const char* day_names = b"Thu, Fri, Sat, Sun, Mon, Tue, Wed, "
    cdef const char* month_names = b" Jan  Feb  Mar  Apr  May  Jun  Jul  Aug  Sep  Oct  Nov  Dec "
    cdef unsigned long long seconds
    cdef unsigned int days, second, era, day_of_era, year_of_era, day_of_year, shifted, year, month
    if unix_seconds < 0:
        unix_seconds = 0
    elif unix_seconds > 253402300799LL:
        unix_seconds = 253402300799LL
    seconds = <unsigned long long>unix_seconds
    days = <unsigned int>(seconds // 86400)
    second = <unsigned int>(seconds % 86400)
    memcpy(out, day_names + days % 7 * 5, 5)
    days += 719468
    era = days // 146097
    day_of_era = days % 146097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153                  # months since March
    month = shifted + 2 if shifted < 10 else shifted - 10   # January is 0
    year = year_of_era + era * 400 + (1 if month < 2 else 0)
    _http1_two_digits(out + 5, day_of_year - (153 * shifted + 2) // 5 + 1)
    memcpy(out + 7, month_names + month * 5, 5)
    _http1_two_digits(out + 12, year // 100)
    _http1_two_digits(out + 14, year % 100)
    out[16] = c' '
    _http1_two_digits(out + 17, second // 3600)
    out[19] = c':'
    _http1_two_digits(out + 20, second // 60 % 60)
    out[22] = c':'
    _http1_two_digits(out + 23, second % 60)
    memcpy(out + 25, b" GMT", 4)


cdef bint http1_is_token(const char* p, size_t n) noexcept nogil:
    # Predicate: 1 when p[0:n] is a token (RFC 9110 5.6.2), 0 when not, as when it is empty.
    cdef size_t i
    for i in range(n):
        if not HTTP1_CLASS[<unsigned char>p[i]] & HTTP1_TOKEN:
            return 0
    return n > 0


cdef bint http1_is_field_value(const char* p, size_t n) noexcept nogil:
    # Predicate: 1 when p[0:n] may be sent as a field value: no control character but HTAB (RFC 9110 5.5). It may be
    # empty; white space at its ends is harmless: the receiver trims it.
    return _http1_value_end(<const unsigned char*>p, <const unsigned char*>p + n) == <const unsigned char*>p + n


cdef int http1_field_next(const char* head, size_t fields_end, size_t* at, Http1Field* out) noexcept nogil:
    # The field line at head[*at]; *at moves behind it. 1: a field, -1: no more. Only for heads that the parser accepted
    # (a colon and a CRLF are then known to be there). *at begins at fields_at.
    cdef const char* p = head + at[0]
    cdef const char* end
    if at[0] >= fields_end:
        return -1
    out.name = p
    while p[0] != c':':
        p += 1
    out.name_len = p - out.name
    p += 1
    end = <const char*>_http1_value_end(<const unsigned char*>p, <const unsigned char*>head + fields_end)
    at[0] = end + 2 - head
    while p < end and (p[0] == c' ' or p[0] == c'\t'):
        p += 1
    while end > p and (end[-1] == c' ' or end[-1] == c'\t'):
        end -= 1
    out.value = p
    out.value_len = end - p
    return 1
