# Unfinished connections by source, and which of them makes room when a cap is reached.
#
# A connection is unfinished from its acceptance until its first whole request head (under TLS: through the handshake),
# and again while a later head is incomplete. A source is an IPv4 address or an IPv6 /64 (web_source_key).
#
# The victim comes from the source with most unfinished connections: there the oldest of which no whole ClientHello or
# request head was received, else the oldest. Where several sources tie, the oldest such one among them; at most
# TIED_SOURCES of them are looked at. Received bytes are never progress. Dropping simply the oldest would let silent
# clients that reconnect at once shut out every honest one with a longer round trip.
#
# All steps are O(1): sources stand in a hash table, and in one list per number of unfinished connections ("level"), so
# the highest level is known without a search. A Source is freed with its last unfinished connection; an Unfinished lies
# inside its Connection.

cdef enum:
    TIED_SOURCES = 64
    SOURCE_BUCKETS = 4096       # 2 ** 12: the upper 12 bits of the mixed key

cdef struct Unfinished:
    Unfinished* earlier
    Unfinished* later
    Source* source              # NULL: not counted
    void* owner
    uint64_t number             # order of arrival
    unsigned char stage         # 0: no whole ClientHello yet; 1: that at least

cdef struct Source:
    Source* next_in_bucket
    Source* level_earlier
    Source* level_later
    uint64_t key
    unsigned int count
    Unfinished* first[2]        # by stage
    Unfinished* last[2]

cdef struct Sources:
    Source** buckets
    Source** level_first        # [1 .. capacity]
    Source** level_last
    unsigned int capacity       # the most connections that may be counted at a time
    unsigned int highest        # the highest level that is not empty; 0: none is counted
    unsigned int count
    uint64_t numbers
    uint64_t seed               # nobody outside can choose addresses that share a bucket


cdef int sources_open(Sources* all, unsigned int capacity, uint64_t seed) noexcept nogil:
    """1, or WEB_FAILED without memory."""
    memset(all, 0, sizeof(Sources))
    all.buckets = <Source**>PyMem_RawCalloc(SOURCE_BUCKETS, sizeof(Source*))
    all.level_first = <Source**>PyMem_RawCalloc(capacity + 1, sizeof(Source*))
    all.level_last = <Source**>PyMem_RawCalloc(capacity + 1, sizeof(Source*))
    all.capacity = capacity
    all.seed = seed
    if all.buckets == NULL or all.level_first == NULL or all.level_last == NULL:
        sources_close(all)
        return WEB_FAILED
    return 1


cdef void sources_close(Sources* all) noexcept nogil:
    """Every connection was removed before."""
    PyMem_RawFree(all.buckets)
    PyMem_RawFree(all.level_first)
    PyMem_RawFree(all.level_last)
    memset(all, 0, sizeof(Sources))


cdef Source** source_slot(Sources* all, uint64_t key) noexcept nogil:
    """The place in the hash table that holds the source, or that would."""
    cdef uint64_t mixed = (key ^ all.seed) * <uint64_t>0x9E3779B97F4A7C15
    cdef Source** slot = &all.buckets[mixed >> 52]
    while slot[0] != NULL and slot[0].key != key:
        slot = &slot[0].next_in_bucket
    return slot


cdef void source_level(Sources* all, Source* source, unsigned int count) noexcept nogil:
    """Moves a source to the end of another level's list; level 0 is no list."""
    if source.count > 0:
        if source.level_earlier != NULL:
            source.level_earlier.level_later = source.level_later
        else:
            all.level_first[source.count] = source.level_later
        if source.level_later != NULL:
            source.level_later.level_earlier = source.level_earlier
        else:
            all.level_last[source.count] = source.level_earlier
    source.count = count
    source.level_later = NULL
    source.level_earlier = NULL
    if count > 0:
        source.level_earlier = all.level_last[count]
        if source.level_earlier != NULL:
            source.level_earlier.level_later = source
        else:
            all.level_first[count] = source
        all.level_last[count] = source
    if count > all.highest:
        all.highest = count
    while all.highest > 0 and all.level_first[all.highest] == NULL:
        all.highest -= 1


cdef void unfinished_link(Source* source, Unfinished* u) noexcept nogil:
    cdef Unfinished* last = source.last[u.stage]
    u.source = source
    u.earlier = last
    u.later = NULL
    if last != NULL:
        last.later = u
    else:
        source.first[u.stage] = u
    source.last[u.stage] = u


cdef void unfinished_unlink(Unfinished* u) noexcept nogil:
    if u.earlier != NULL:
        u.earlier.later = u.later
    else:
        u.source.first[u.stage] = u.later
    if u.later != NULL:
        u.later.earlier = u.earlier
    else:
        u.source.last[u.stage] = u.earlier
    u.earlier = u.later = NULL


cdef int unfinished_begin(Sources* all, Unfinished* u, uint64_t key) noexcept nogil:
    """Counts a connection as unfinished: 1, or WEB_FAILED without memory or past the capacity."""
    cdef Source** slot
    cdef Source* source
    if u.source != NULL:
        return 1
    if all.count >= all.capacity:
        return WEB_FAILED
    slot = source_slot(all, key)
    source = slot[0]
    if source == NULL:
        source = <Source*>PyMem_RawCalloc(1, sizeof(Source))
        if source == NULL:
            return WEB_FAILED
        source.key = key
        slot[0] = source
    all.numbers += 1
    all.count += 1
    u.number = all.numbers
    u.stage = 0
    unfinished_link(source, u)
    source_level(all, source, source.count + 1)
    return 1


cdef void unfinished_advance(Unfinished* u) noexcept nogil:
    """The whole ClientHello came. The order by arrival within the second stage is that of this moment, which is
    near."""
    cdef Source* source = u.source
    if source == NULL or u.stage == 1:
        return
    unfinished_unlink(u)
    u.stage = 1
    unfinished_link(source, u)


cdef void unfinished_end(Sources* all, Unfinished* u) noexcept nogil:
    """No longer unfinished: finished, or gone."""
    cdef Source* source = u.source
    cdef Source** slot
    if source == NULL:
        return
    unfinished_unlink(u)
    u.source = NULL
    all.count -= 1
    source_level(all, source, source.count - 1)
    if source.count == 0:
        slot = source_slot(all, source.key)
        slot[0] = source.next_in_bucket
        PyMem_RawFree(source)


cdef Unfinished* unfinished_victim(const Sources* all) noexcept nogil:
    """Who makes room; NULL when nobody is unfinished."""
    cdef Source* source
    cdef Unfinished* found = NULL
    cdef Unfinished* candidate
    cdef int looked = 0
    if all.highest == 0:
        return NULL
    source = all.level_first[all.highest]
    while source != NULL and looked < TIED_SOURCES:
        candidate = source.first[0] if source.first[0] != NULL else source.first[1]
        if found == NULL or candidate.stage < found.stage or \
                (candidate.stage == found.stage and candidate.number < found.number):
            found = candidate
        source = source.level_later
        looked += 1
    return found
