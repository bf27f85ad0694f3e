"""bjoern with a WSGI application. TCP_NODELAY is inherited from the listening socket. usage: PORT"""

import socket
import sys

import bjoern
from wsgi_app import application

listener = bjoern.bind_and_listen("127.0.0.1", int(sys.argv[1]), listen_backlog=4096)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
bjoern.server_run(listener, application)
