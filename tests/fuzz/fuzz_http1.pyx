# What the fuzzer runs: the pure parts of the core, compiled by themselves, without Python.
#
# Beside what the sanitizers find, each input must keep these rules, under the default limits and under tight ones:
# - However the bytes are cut (by a generator that the input seeds), the verdict is that of the bytes in one piece and
#   comes with the same byte. Every piece is given in memory of exactly its size, at a new address.
# - Every offset of an accepted head lies in that head; its fields, walked again, are as many as were counted and hold
#   no control character.
# - The decoder never says that it read or wrote more than it was given; in place it writes what it writes elsewhere.
# A rule that is broken is printed, then the process aborts.

include "_core_http1.pxi"
include "_core_http1_host.pxi"
include "_core_http1_chunked.pxi"
include "_core_http1_write.pxi"

from libc.stdint cimport uint8_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort, free, malloc


cdef void check(bint kept, const char* rule) noexcept nogil:
    if not kept:
        fprintf(stderr, b"broken rule: %s\n", rule)
        abort()


cdef char* exact_copy(const char* data, size_t size) noexcept nogil:
    cdef char* copy = <char*>malloc(size if size else 1)
    check(copy != NULL, b"there is memory")
    if size:
        memcpy(copy, data, size)
    return copy


cdef size_t next_piece(uint64_t* seed, size_t left) noexcept nogil:
    # xorshift; mostly small pieces, one byte often.
    seed[0] ^= seed[0] << 13
    seed[0] ^= seed[0] >> 7
    seed[0] ^= seed[0] << 17
    return min(left, <size_t>(1 + (seed[0] >> 8) % (1 << (seed[0] & 7))))


# ---- heads ----

cdef Py_ssize_t head_whole(Http1Head* head, const char* data, size_t size, const Http1Limits* limits) noexcept nogil:
    cdef char* copy = exact_copy(data, size)
    cdef Py_ssize_t result
    http1_head_init(head)
    result = http1_head_feed(head, copy, size, limits)
    check_head(head, copy, size, result)
    free(copy)
    return result


cdef Py_ssize_t head_in_pieces(Http1Head* head, const char* data, size_t size, const Http1Limits* limits,
                               uint64_t seed) noexcept nogil:
    cdef Http1Head so_far
    cdef Py_ssize_t result = HTTP1_MORE
    cdef size_t seen = 0
    cdef char* copy
    http1_head_init(head)
    while result == HTTP1_MORE and seen < size:
        seen += next_piece(&seed, size - seen)
        copy = exact_copy(data, seen)
        result = http1_head_feed(head, copy, seen, limits)
        free(copy)
    check(result == head_whole(&so_far, data, seen, limits), b"cuts do not change when the verdict comes")
    return result


cdef void check_head(const Http1Head* h, const char* data, size_t size, Py_ssize_t result) noexcept nogil:
    cdef Http1Field field
    cdef size_t[1] at
    cdef unsigned int count = 0
    cdef size_t target_end = <size_t>h.target_at + h.target_len
    check(result > 0 or result == HTTP1_MORE or (-505 <= result <= -400), b"a result is a length, MORE or a status")
    check((h.fault != NULL) == (result < HTTP1_MORE), b"an error, and only an error, has a fault")
    if result <= 0:
        return
    check(<size_t>result <= size, b"a head is not longer than what was given")
    check(memcmp(data + result - 4, b"\r\n\r\n", 4) == 0, b"a head ends with an empty line")
    check(h.fields_at <= h.fields_end and h.fields_end == <size_t>result - 2, b"fields end at the empty line")
    check(h.method_len > 0 and h.method_at + h.method_len < h.target_at, b"the method precedes the target")
    check(h.target_len > 0 and target_end < h.fields_at, b"the target is in the request line")
    check(h.method == METHOD_CONNECT or (h.path_len > 0 and h.path_at >= h.target_at), b"there is a path")
    check(<size_t>h.path_at + h.path_len <= target_end, b"the path is in the target")
    check(h.query_len == 0 or (h.query_at > h.path_at and <size_t>h.query_at + h.query_len == target_end),
          b"the query is the target's end")
    check(<size_t>h.authority_at + h.authority_len <= h.fields_end, b"the authority is in the head")
    check(not (h.chunked and h.content_length >= 0), b"there is one way to tell the body's length")
    check(h.authority_len > 0 or h.minor_version == 0 or h.target_form == TARGET_ASTERISK, b"the host is known")
    at[0] = h.fields_at
    while http1_field_next(data, h.fields_end, at, &field) > 0:
        count += 1
        check(at[0] <= h.fields_end, b"a field is in the head")
        check(field.name + field.name_len < field.value + 1 and field.value + field.value_len <= data + at[0] - 2,
              b"a field's parts are in order")
        check(http1_is_token(field.name, field.name_len), b"a name is a token")
        check(http1_is_field_value(field.value, field.value_len), b"a value has no control characters")
    check(count == h.field_count, b"as many fields are walked as were counted")


cdef Py_ssize_t try_head(const char* data, size_t size, const Http1Limits* limits, uint64_t seed) noexcept nogil:
    cdef Http1Head whole, pieces
    cdef Py_ssize_t expected = head_whole(&whole, data, size, limits)
    cdef Py_ssize_t result = head_in_pieces(&pieces, data, size, limits, seed)
    check(result == expected and pieces.fault == whole.fault, b"cuts do not change the verdict on a head")
    if result > 0:
        check(memcmp(&whole, &pieces, sizeof(Http1Head)) == 0, b"cuts do not change what was read")
    return result


# ---- chunked bodies ----

cdef struct Decoded:
    Py_ssize_t result
    size_t consumed
    size_t produced
    const char* fault


cdef Decoded decode(const char* data, size_t size, char* out, const Http1Limits* limits, uint64_t seed,
                    bint whole, bint in_place) noexcept nogil:
    cdef Http1Chunked state
    cdef Decoded d
    cdef size_t[1] consumed, produced
    cdef size_t piece
    cdef char* copy
    cdef char* room
    http1_chunked_init(&state)
    d.result = HTTP1_MORE
    d.consumed = d.produced = 0
    while d.result == HTTP1_MORE and d.consumed < size:
        piece = size - d.consumed if whole else next_piece(&seed, size - d.consumed)
        copy = exact_copy(data + d.consumed, piece)
        room = copy if in_place else exact_copy(data + d.consumed, piece)
        d.result = http1_chunked_feed(&state, copy, piece, consumed, room, produced, limits)
        check(produced[0] <= consumed[0] and consumed[0] <= piece, b"no more is decoded than was given")
        check(d.result != HTTP1_MORE or consumed[0] == piece, b"all is taken while more is wanted")
        memcpy(out + d.produced, room, produced[0])
        d.consumed += consumed[0]
        d.produced += produced[0]
        free(copy)
        if not in_place:
            free(room)
    check(-1 <= d.result <= 1 and d.result != 0 or d.result == -400 or d.result == -431, b"known results only")
    d.fault = state.fault
    check((d.fault != NULL) == (d.result < HTTP1_MORE), b"an error, and only an error, has a fault")
    return d


cdef void try_body(const char* data, size_t size, const Http1Limits* limits, uint64_t seed) noexcept nogil:
    cdef char* expected_out = exact_copy(data, size)
    cdef char* out = exact_copy(data, size)
    cdef Decoded expected = decode(data, size, expected_out, limits, seed, 1, 0)
    cdef Decoded d
    cdef int way
    for way in range(3):
        d = decode(data, size, out, limits, seed, way == 0, way < 2)
        check(d.result == expected.result and d.fault == expected.fault, b"cuts do not change the verdict on a body")
        check(d.consumed == expected.consumed, b"cuts do not change what is consumed")
        check(d.produced == expected.produced, b"cuts do not change what is produced")
        check(memcmp(out, expected_out, d.produced) == 0, b"cuts do not change the payload")
    free(expected_out)
    free(out)


cdef public int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) noexcept nogil:
    cdef const char* data = <const char*>bytes
    cdef Http1Limits[2] limits
    cdef uint64_t seed = 14695981039346656037ULL
    cdef Py_ssize_t result
    cdef size_t i
    for i in range(size):                       # FNV-1a; never 0 in practice, and 0 would only mean pieces of one byte
        seed = (seed ^ bytes[i]) * 1099511628211ULL
    limits[0].request_line, limits[0].field, limits[0].fields, limits[0].field_count = 8192, 8192, 32768, 100
    limits[1].request_line, limits[1].field, limits[1].fields, limits[1].field_count = 40, 32, 100, 4
    for i in range(2):
        result = try_head(data, size, &limits[i], seed)
        if result > 0:
            try_body(data + result, size - <size_t>result, &limits[i], seed)
        try_body(data, size, &limits[i], seed)
    return 0
