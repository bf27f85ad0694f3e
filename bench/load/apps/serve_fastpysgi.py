"""fastpysgi with a WSGI application. usage: MODULE PORT [CERT KEY]"""

import importlib
import sys

import fastpysgi

application = importlib.import_module(sys.argv[1]).application
fastpysgi.server.tcp_nodelay = 1  # else pipelined answers wait for acknowledgements
fastpysgi.server.backlog = 4096
if len(sys.argv) > 3:
    fastpysgi.server.tls_list = [(sys.argv[3], sys.argv[4], None)]
fastpysgi.run(application, "127.0.0.1", int(sys.argv[2]))
