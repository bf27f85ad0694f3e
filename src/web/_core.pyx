"""The compiled heart of weblatch: everything that must be fast, or must be right under attack.

A map of the parts, in the order in which they are included; each names its states and owners at its top:

    _core_openssl     declarations of OpenSSL, nothing else
    _core_poller      declarations of the C headers: sockets, the poller
    _core_errors      errno -> exception; why connections close
    _core_http1       request head parser (_fields, _host, _chunked, _write: its parts): pure, no I/O
    _core_networks    blocks of addresses; _core_proxy: the PROXY protocol, read before all else
    _core_websocket   WebSocket frames: reader and writer; _core_deflate, _core_websocket_message: messages; pure
    _core_hotpath     those pieces as Python objects, for measuring and for tests; _core_websocket_hotpath
    _core_stats       what is counted, in memory that worker processes share
    _core_deadlines   time-outs: O(1) to set, to clear and to find the next
    _core_sources     unfinished connections by source, and which of them makes room
    _core_json        JSON of the standard library, or the App's
    _core_request     Request
    _core_producer      what produces a body while it is sent
    _core_response    Response
    _core_chain       hooks of groups and routes, compiled
    _core_hosts       the hosts that an application answers for
    _core_routing     Router
    _core_probes      health routes, answered without the application
    _core_faults      errors that the framework answers, and their bodies
    _core_dispatch    Dispatcher: hooks, route, handler, coercion
    _core_output      what a connection still has to send: a queue of segments
    _core_files       small files of static folders, kept in memory
    _core_conditional conditions and ranges: 206, 304, 412, 416
    _core_connection  the transport machine; Connection and Plain
    _core_certificate Certificate: what an X.509 certificate says
    _core_dev_pair    the throw-away certificate for development
    _core_tls_policy  what every TLS connection must keep to
    _core_tls_files   certificates, keys, authorities and revocation lists: read and given to OpenSSL
    _core_tls_sites   what a server shows and asks by host name; clients' certificates
    _core_tls_context TlsContext: all of that, loaded
    _core_tls_tickets keys of session tickets
    _core_tls_keylog  secrets of connections in a file, for debugging
    _core_tls_bio     how OpenSSL reaches the socket
    _core_tls_hello   what a ClientHello asks for: name and protocol
    _core_tls         Tls: handshake, read, write, shutdown; with the parts since Certificate the only caller of OpenSSL
    _core_exchange    the HTTP/1 protocol machine: a request from its first byte to the last of its answer
    _core_socket      WebSocket: the protocol machine of a connection after its 101
    _core_websocket_object  WebSocket, as applications hold it; its events
    _core_rooms             what is published to a topic, and its way to those who have subscribed
    _core_pending     a request whose answer comes later
    _core_task        ... from a Task of asyncio: the pipeline as a coroutine
    _core_pool        ... from a thread: the pool of those
    _core_stream      sending such a body: framing, pauses
    _core_events      ... of server-sent events: keep-alive, the end at a stop
    _core_calling     calling the application for a request, in one of these ways
    _core_body        a request's body that did not come whole with its head
    _core_inflow      ... given to the application as it comes
    _core_answer      Response -> bytes: the lines that the framework adds, and framing
    _core_answer_file ... where the body is a file, or parts of one
    _core_listener    listening sockets; taking connections in; making room at a cap
    _core_serve       one connection's share of a turn, by the state of its transport
    _core_turn        one turn of the loop: wait, call, finish; its lists
    _core_server      Loop: as a server sees it; stopping
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.ref cimport Py_REFCNT
from cpython.unicode cimport PyUnicode_InternFromString
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport abort
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strcmp, strlen
from posix.types cimport off_t, time_t

from os import urandom
from socket import SOCK_STREAM, socket as socket_type

cdef struct Http1
cdef struct Socket

cdef class Connection
cdef class Dispatcher
cdef class _FileParts
cdef class Inflow
cdef class KeyLog
cdef class Listener
cdef class Loop
cdef class Networks
cdef class Pending
cdef class Plain(Connection)
cdef class Pool
cdef class Request
cdef class Response
cdef class Spool
cdef class TicketKeys
cdef class Tls(Connection)
cdef class TlsContext
cdef class WebSocket

include "_core_openssl.pxi"
include "_core_poller.pxi"
include "_core_errors.pxi"
include "_core_http1.pxi"
include "_core_http1_fields.pxi"
include "_core_http1_host.pxi"
include "_core_http1_chunked.pxi"
include "_core_http1_write.pxi"
include "_core_networks.pxi"
include "_core_proxy.pxi"
include "_core_websocket.pxi"
include "_core_deflate.pxi"
include "_core_websocket_message.pxi"
include "_core_hotpath.pxi"
include "_core_websocket_hotpath.pxi"
include "_core_stats.pxi"
include "_core_deadlines.pxi"
include "_core_sources.pxi"
include "_core_json.pxi"
include "_core_request.pxi"
include "_core_producer.pxi"
include "_core_response.pxi"
include "_core_chain.pxi"
include "_core_hosts.pxi"
include "_core_routing.pxi"
include "_core_probes.pxi"
include "_core_faults.pxi"
include "_core_dispatch.pxi"
include "_core_output.pxi"
include "_core_files.pxi"
include "_core_conditional.pxi"
include "_core_connection.pxi"
include "_core_certificate.pxi"
include "_core_dev_pair.pxi"
include "_core_tls_policy.pxi"
include "_core_tls_files.pxi"
include "_core_tls_sites.pxi"
include "_core_tls_context.pxi"
include "_core_tls_tickets.pxi"
include "_core_tls_keylog.pxi"
include "_core_tls_bio.pxi"
include "_core_tls_hello.pxi"
include "_core_tls.pxi"
include "_core_exchange.pxi"
include "_core_socket.pxi"
include "_core_websocket_object.pxi"
include "_core_rooms.pxi"
include "_core_pending.pxi"
include "_core_task.pxi"
include "_core_pool.pxi"
include "_core_stream.pxi"
include "_core_events.pxi"
include "_core_calling.pxi"
include "_core_body.pxi"
include "_core_inflow.pxi"
include "_core_answer.pxi"
include "_core_answer_file.pxi"
include "_core_listener.pxi"
include "_core_serve.pxi"
include "_core_turn.pxi"
include "_core_server.pxi"
