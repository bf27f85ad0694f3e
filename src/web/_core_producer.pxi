# Producer: what produces a body while it is sent: an iterator or an async iterator of str and bytes.
#
# States
#   FRESH   as Response.stream made it
#   BEGUN   its first item was taken, before after hooks run and before the head is sent: what fails until then is a 500
#   TAKEN   an exchange is sending it; a Producer is sent once
#   CLOSED  its iterator came to its end, failed, or was closed because nobody wants the rest
#
# With an encoder (a content coding) each item leaves encoded; what the encoder has at the end is one item more, and
# only where the iterator came to its end: a body that failed never gets what would make it look whole.
#
# Ownership: a Response and its changed copies share one Producer. Whoever runs the pipeline (the loop, a Task, a thread
# of the pool) is the one that iterates, begins and closes it.

from collections.abc import AsyncIterable as _AsyncIterable, AsyncIterator as _AsyncIterator, Iterable as _Iterable
from io import IOBase as _IOBase


cdef enum ProducerState:
    PRODUCER_FRESH = 1
    PRODUCER_BEGUN = 2
    PRODUCER_TAKEN = 3
    PRODUCER_CLOSED = 4

cdef unsigned char[5] PRODUCER_STEPS
PRODUCER_STEPS[:] = [
    0,
    (1 << PRODUCER_BEGUN) | (1 << PRODUCER_CLOSED),     # FRESH
    (1 << PRODUCER_TAKEN) | (1 << PRODUCER_CLOSED),     # BEGUN
    (1 << PRODUCER_CLOSED),                           # TAKEN
    0,                                              # CLOSED
]


@cython.final
cdef class Producer:
    """The body of a streamed Response. Made by ``Response.stream``."""
    cdef unsigned char state            # ProducerState
    cdef object iterator
    cdef readonly bint is_async
    cdef bint typed                     # the Response says its Content-Type; else the first item decides
    cdef bytes first                    # while it is not sent; None: there was none, or it is sent
    cdef int64_t length                 # what is said of the body in bytes, and must come true; -1: nothing
    cdef object encoder                 # encode(bytes) and finish(); None: there is none, or it has finished
    cdef int64_t promised               # with an encoder: bytes that are yet to go into it; -1: nothing was promised
    cdef bint is_events                 # each item is whole events (_core_events)
    cdef int64_t keep_alive             # ... and for how many ns there may be none; 0: for ever

    cdef Producer encoded_by(self, object encoder):
        """A Producer that goes on from here through the encoder; this one is over."""
        cdef Producer other = Producer.__new__(Producer)
        if self.state > PRODUCER_BEGUN or self.encoder is not None:
            raise RuntimeError("a stream is encoded once, and before it is sent")
        other.state = self.state
        other.iterator, self.iterator = self.iterator, None
        other.is_async = self.is_async
        other.typed = self.typed
        other.first, self.first = self.first, None
        other.length = -1
        other.encoder = encoder
        other.promised = self.length
        other.is_events = self.is_events    # without keep_alive: a comment would lie in the middle of what is coded
        self.step(PRODUCER_CLOSED)
        return other

    cdef int step(self, ProducerState to) except -1:
        if not PRODUCER_STEPS[self.state] & (1 << <int>to):
            raise RuntimeError("a streamed Response is sent once: make a new one for each request")
        self.state = to
        return 1

    cdef bint begins(self) noexcept:
        """Predicate: its first item is yet to be taken."""
        return self.state == PRODUCER_FRESH

    cdef bytes next_item(self):
        """The next item that is not empty; None at the end. What the iterator raises goes through."""
        cdef bytes item = self.first
        if item is not None:
            self.first = None
            return self.outgoing(item)
        while self.iterator is not None:
            try:
                item = item_bytes(next(self.iterator))
            except StopIteration:
                self.iterator = None
                break
            if item:
                return self.outgoing(item)
        return self.last_item()

    cdef bytes outgoing(self, bytes item):
        """An item that is not empty as it is sent."""
        if self.encoder is None:
            return item
        if self.promised >= 0:
            self.promised -= len(item)
            if self.promised < 0:
                raise _too_many_bytes()
        return self.encoder.encode(item)

    cdef bytes last_item(self):
        """What is sent once the iterator came to its end; None: nothing more."""
        encoder, self.encoder = self.encoder, None
        if encoder is None:
            return None
        if self.promised > 0:
            raise _too_few_bytes(self.promised)
        return encoder.finish()

    def close(self):
        """Nobody wants the rest: ends a generator. What its ``finally`` raises goes through."""
        iterator, self.iterator = self.iterator, None
        self.first = None
        self.encoder = None
        if self.state != PRODUCER_CLOSED:
            self.step(PRODUCER_CLOSED)
        if not self.is_async:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()


cdef object _too_many_bytes():
    return ValueError("more bytes were yielded than Response.stream(length=...) promised")


cdef object _too_few_bytes(int64_t missing):
    return ValueError(f"{missing} bytes fewer were yielded than Response.stream(length=...) promised")


cdef bytes item_bytes(object item):
    """An item as it is sent. TypeError for what is neither text nor bytes."""
    if type(item) is bytes:
        return <bytes>item
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    raise TypeError(f"a streamed answer yielded {_shown(item)}: yield str or bytes")


cdef Producer producer_of(object items, int64_t length):
    """TypeError for what cannot be streamed, which says what to use."""
    cdef Producer producer = Producer.__new__(Producer)
    if isinstance(items, _IOBase):
        raise TypeError("Response.stream(): an open file; Response.file(path) sends files, without a copy")
    if isinstance(items, (str, bytes, bytearray, memoryview, dict)):
        raise TypeError(f"Response.stream(): {type(items).__name__} is a whole body; return it, or Response(...)")
    if length < -1:
        raise ValueError(f"Response.stream(length={length}): a number of bytes is needed")
    producer.is_async = isinstance(items, _AsyncIterable)
    if producer.is_async:
        producer.iterator = items.__aiter__()
    elif isinstance(items, _Iterable):
        producer.iterator = iter(items)
    else:
        raise TypeError(f"Response.stream(): an iterable of str or bytes is needed, not {type(items).__name__}")
    producer.length = length
    producer.promised = -1
    producer.state = PRODUCER_FRESH
    return producer


cdef int response_begin(Response response) except -1:
    """Takes the first item of a plain iterator, and says the Content-Type that follows from it."""
    cdef Producer producer = response._producer
    if producer.is_async:
        raise TypeError("an async iterator needs an async handler: declare the handler with async def")
    producer.step(PRODUCER_BEGUN)
    try:
        item = next(producer.iterator)
    except StopIteration:
        producer.iterator = None
        item = b""
    return response_begun(response, item)


cdef int response_begun(Response response, object item) except -1:
    """The first item is here."""
    cdef Producer producer = response._producer
    if not producer.typed:
        producer.typed = True
        response._head = (_TEXT_LINE if isinstance(item, str) else _BYTES_LINE) + response._head
    item = item_bytes(item)
    producer.first = item if item else None
    return 1
