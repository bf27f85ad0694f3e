# TlsContext: certificates, keys, what is asked of clients, names and policy of a TLS server. With the other _core_tls
# parts the only caller of OpenSSL.
#
# A TlsContext is a value that records options and paths. load() reads the files and makes the SSL_CTX, once; from then
# on nothing changes it (connections share it, and each SSL holds a reference of its own). A load that fails leaves
# nothing behind: no SSL_CTX, no key in memory, an empty error queue. When the files have changed, _renewed() makes
# another one.
#
# Contexts for other names are values, too: the outer context, which is the one that listens, makes loaded copies of its
# own (inner), so that one value may be given to several. Connections hold the outer one, and with it all.
#
# Ticket keys (_core_tls_tickets) and key log are the outer context's. They are made at the first load and go on to what
# is renewed, and into processes forked later: a client's ticket is good wherever it connects next.

cimport cython

from collections.abc import Mapping
from inspect import iscoroutinefunction
from os import fsdecode
from threading import Lock as _make_lock
from types import MappingProxyType

cdef enum:
    MAX_PASSWORD = 1024         # bytes; OpenSSL's buffer (PEM_BUFSIZE)
    MAX_DEPTH = 100

cdef dict VERIFY_MODES = {
    "none": SSL_VERIFY_NONE,
    "optional": SSL_VERIFY_PEER,
    "required": SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
}


cdef int start_openssl() except -1:
    """NO_ATEXIT comes first: handlers of OpenSSL must not run at exit under threads that still use it."""
    if OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) != 1:
        raise ImportError("OpenSSL cannot be initialised")
    if web_openssl_is_private() and OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1:
        raise ImportError("OpenSSL cannot be initialised without a configuration file")
    return 1


start_openssl()


def openssl_version():
    """The OpenSSL that is linked: "OpenSSL 3.0.19 27 Jan 2026"."""
    return OpenSSL_version(OPENSSL_VERSION).decode("ascii")


@cython.final
cdef class TlsContext:
    """Certificates, keys, client certificates, names and policy for TLS connections (server side).

    cert_file: PEM; the server's own certificate first, then the intermediate ones; all of them are sent.
    key_file: PEM; PKCS#8 (encrypted too), or the older forms. password: for an encrypted key, str or bytes.
    also: more pairs (cert_file, key_file), each with a key of another kind: RSA beside ECDSA.
    policy: "intermediate" (TLS 1.2 and 1.3) or "modern" (TLS 1.3), after Mozilla's guidelines.
    ktls: let the kernel encrypt where it can (Linux with the tls module).
    allow_expired: serve certificates and revocation lists that are out of date; for tests.
    tickets: TicketKeys; None: new ones. keylog: for debugging, write secrets to the file that SSLKEYLOGFILE names.

    client_cert: "none", "optional" or "required": whether clients are asked for a certificate. client_ca: PEM; the
    authorities that sign them, each trusted as it stands. client_crl: PEM; revocation lists, one of every authority in
    a chain. client_depth: how many intermediate authorities a chain may have. client_check(certificate) -> bool: is
    asked for each verified certificate, at the handshake and when a session is resumed, on the event loop's thread: it
    must be quick.

    names: contexts for other host names (SNI): {"api.example.org": TlsContext(...), "*.example.net": TlsContext(...)};
    this one is for the rest and for clients that name none. unknown_names: "serve" them so, or "refuse" every name that
    is neither there nor in this certificate (alert unrecognized_name, RFC 6066).

    Making one is cheap and touches no file; load() does, and raises CertificateError.
    """

    cdef readonly str cert_file
    cdef readonly str key_file
    cdef readonly str policy
    cdef readonly str client_cert
    cdef readonly object names      # MappingProxyType
    cdef readonly str unknown_names
    cdef readonly bint ktls
    cdef dict options               # as they were given
    cdef list pairs                 # (cert_file, key_file, password)
    cdef str client_ca, client_crl
    cdef int client_depth
    cdef object client_check
    cdef bint allow_expired
    cdef Site site
    cdef NameTable table
    cdef object loading             # threading.Lock
    cdef tuple inner                # loaded contexts of other names; not loaded: None
    cdef list own                   # Certificates, one of each pair
    cdef list kept                  # what the table's rows point to
    cdef bint rules_differ          # names ask different things of clients
    cdef readonly TicketKeys tickets
    cdef readonly bint keylog
    cdef KeyLog key_log             # None: it is off, or SSLKEYLOGFILE is not set

    def __cinit__(self, cert_file, key_file, *, password=None, also=(), policy="intermediate", bint ktls=False,
                  bint allow_expired=False, client_cert="none", client_ca=None, client_crl=None, client_depth=8,
                  client_check=None, names=None, unknown_names="serve", TicketKeys tickets=None, bint keylog=False):
        self.loading = _make_lock()
        self.cert_file = fsdecode(cert_file)
        self.key_file = fsdecode(key_file)
        self.options = dict(password=password, also=tuple(also), policy=policy, ktls=ktls, allow_expired=allow_expired,
                            client_cert=client_cert, client_ca=client_ca, client_crl=client_crl,
                            client_depth=client_depth, client_check=client_check, names=names,
                            unknown_names=unknown_names, tickets=tickets, keylog=keylog)
        secret = checked_password(password)
        self.pairs = [(self.cert_file, self.key_file, secret)]
        for pair in self.options["also"]:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError("also: pairs are needed, as in [(cert_file, key_file)]")
            self.pairs.append((fsdecode(pair[0]), fsdecode(pair[1]), secret))
        self.policy = one_of("policy", policy, POLICIES)
        self.ktls = ktls
        self.allow_expired = allow_expired
        self.use_client_options(client_cert, client_ca, client_crl, client_depth, client_check)
        self.names = MappingProxyType(checked_names({} if names is None else names, self))
        self.options["names"] = self.names      # whatever becomes of the caller's
        self.unknown_names = one_of("unknown_names", unknown_names, ("serve", "refuse"))
        self.tickets = TicketKeys() if tickets is None else tickets
        self.keylog = keylog

    cdef int use_client_options(self, mode, ca, crl, depth, check) except -1:
        self.client_cert = one_of("client_cert", mode, VERIFY_MODES)
        if mode == "none" and not (ca is None and crl is None and check is None):
            raise ValueError('client_ca, client_crl and client_check go with client_cert="required" or "optional"')
        if mode != "none" and ca is None:
            raise ValueError(f"client_cert={mode!r} needs client_ca=: the file of the authorities that sign clients' "
                             "certificates")
        if type(depth) is not int or not 0 <= depth <= MAX_DEPTH:
            raise ValueError(f"client_depth={depth!r}: give 0 to {MAX_DEPTH}")
        if check is not None and not callable(check):
            raise TypeError(f"client_check: a function of a Certificate is needed, not {type(check).__name__}")
        if iscoroutinefunction(check):
            raise TypeError("client_check: a plain function is needed: nothing awaits it within a handshake")
        self.client_ca = None if ca is None else fsdecode(ca)
        self.client_crl = None if crl is None else fsdecode(crl)
        self.client_depth = depth
        self.client_check = check
        return 1

    def __dealloc__(self):
        PyMem_RawFree(self.table.rows)
        if self.site.ctx != NULL:
            SSL_CTX_free(self.site.ctx)

    def load(self):
        """Reads the files and makes the context ready, once; later calls do nothing.

        CertificateError: a file cannot be used. TlsError: the linked OpenSSL lacks something that the policy needs.
        """
        with self.loading:      # threads may share it: connections point into what was made
            if self.site.ctx == NULL:
                self.load_once()

    cdef int load_once(self) except -1:
        files = self._read()
        try:
            self._renew_tickets(files)
            if self.keylog and self.key_log is None:
                self.key_log = open_key_log()
            self.use(files)
        finally:
            cleanse_all(files)
        return 1

    @property
    def certificates(self):
        """The server's own Certificates that are in use, those of other names behind its own; () until it is loaded."""
        if self.inner is None:
            return ()
        return tuple(self.own) + tuple([one for context in self.inner for one in (<TlsContext>context).own])

    @property
    def files(self):
        """The paths of all files that it is made of, each once."""
        paths = [path for cert, key, _ in self.pairs for path in (cert, key)]
        paths += [path for path in (self.client_ca, self.client_crl) if path is not None]
        for context in self.names.values():
            paths += context.files
        if self.tickets.file is not None:
            paths.append(self.tickets.file)
        return tuple(dict.fromkeys(paths))

    def _read(self):
        """{path: text} of all files as they are now, in memory that its owner can and must overwrite."""
        files = {}
        try:
            for path in self.files:
                is_secret = path == self.tickets.file
                files[path] = read_ticket_file(path) if is_secret else read_pem_file(path, self.what_is(path))
        except BaseException:
            cleanse_all(files)
            raise
        return files

    cdef str what_is(self, str path):
        for cert, key, _ in self.pairs:
            if path == cert:
                return "certificate"
            if path == key:
                return "key"
        for context in self.names.values():
            if path in context.files:
                return (<TlsContext?>context).what_is(path)
        return "authorities'" if path == self.client_ca else "revocation list's"

    def _renewed(self, dict files not None):
        """A context that is ready, of what _read() gave, here or in another process: options, ticket keys and key log
        are this one's. CertificateError, TlsError: as load(). The texts stay their owner's to overwrite."""
        cdef TlsContext fresh = self.copy()
        fresh.tickets = self.tickets
        fresh.key_log = self.key_log
        fresh.use(files)
        return fresh

    def _renew_tickets(self, dict files not None):
        """Makes ticket keys of the file, of what _read() gave, where it changed. Once all that is renewed together can
        be used."""
        self.tickets.use(files.get(self.tickets.file))

    cdef TlsContext copy(self):
        return TlsContext(self.cert_file, self.key_file, **self.options)

    cdef int use(self, dict files) except -1:
        """Makes the outer context, and those of its names."""
        cdef TlsContext context, fresh
        copies = {}
        patterns = {}
        for pattern, context in self.names.items():
            patterns.setdefault(id(context), []).append(pattern)
        try:
            for context in self.names.values():
                if id(context) not in copies:
                    fresh = copies[id(context)] = context.copy()
                    fresh.key_log = self.key_log
                    fresh.make(files, patterns[id(context)])
            self.make(files, [])
            self.inner = tuple(copies.values())
            self.fill_table(copies)
        except BaseException:
            self.inner = None
            SSL_CTX_free(self.site.ctx)
            memset(&self.site, 0, sizeof(Site))
            raise
        finally:
            ERR_clear_error()
        return 1

    cdef int make(self, dict files, list patterns) except -1:
        """Makes this context's SSL_CTX and Site. patterns: the names that it is for; the outer one: none."""
        cdef SSL_CTX* ctx = NULL
        ERR_clear_error()
        try:
            ctx = SSL_CTX_new(TLS_server_method())
            require(ctx != NULL, "context")
            set_policy(ctx, self.policy == "modern", self.ktls)
            self.own = []
            kinds = set()
            for cert, key, password in self.pairs:
                self.use_pair(ctx, files, cert, key, password, kinds)
            self.use_clients(ctx, files, patterns)
            use_tickets(ctx, self.tickets)
            if self.key_log is not None:
                use_key_log(ctx)
            self.site.ctx, ctx = ctx, NULL
        finally:
            SSL_CTX_free(ctx)
            ERR_clear_error()
        return 1

    cdef int use_pair(self, SSL_CTX* ctx, dict files, str cert, str key_file, bytes password, set kinds) except -1:
        cdef EVP_PKEY* key = parse_key(files[key_file], key_file, password)
        cdef int kind = EVP_PKEY_get_base_id(key)
        try:
            self.own.append(use_chain(ctx, key, files[cert], cert, key_file, self.allow_expired))
            if kind in kinds:
                raise CertificateError(f"the key in {key_file!r} is of the same kind as another one here: also= is for "
                                       "one certificate of each kind of key; other names go to names=")
            kinds.add(kind)
            require(SSL_CTX_use_PrivateKey(ctx, key) == 1 and SSL_CTX_check_private_key(ctx) == 1, "key")
        finally:
            EVP_PKEY_free(key)
        return 1

    cdef int use_clients(self, SSL_CTX* ctx, dict files, list patterns) except -1:
        """What is asked of clients, and the hashes that say it."""
        cdef bytes rules, names
        cdef Site* site = &self.site
        site.verify_mode = VERIFY_MODES[self.client_cert]
        site.depth = self.client_depth
        site.check = <void*>self.client_check if self.client_check is not None else NULL
        hashed = sha256(f"weblatch {self.client_cert} {self.client_depth}".encode())
        if site.verify_mode != SSL_VERIFY_NONE:
            site.flags = X509_V_FLAG_PARTIAL_CHAIN
            hashed.update(sha256(files[self.client_ca]).digest())
            authorities = use_issuers(ctx, files[self.client_ca], self.client_ca)
            ends = [one.not_after for one in authorities]
            if self.client_crl is not None:
                check_anchors(authorities, self.client_ca)
                site.flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL
                hashed.update(sha256(files[self.client_crl]).digest())
                ends += use_revocations(ctx, files[self.client_crl], self.client_crl, self.allow_expired)
            now = datetime.now(_UTC)
            site.until = int(min([end.timestamp() for end in ends if end > now], default=2**62))
        rules = hashed.digest()
        hashed.update("\n".join(sorted(patterns)).encode())
        names = hashed.digest()
        memcpy(site.rules, PyBytes_AS_STRING(rules), SITE_HASH)
        memcpy(site.session_id, PyBytes_AS_STRING(names), SITE_HASH)
        # For an SSL before its ClientHello. What is asked of the client stands in the Site alone: see site_use().
        SSL_CTX_set_verify(ctx, site.verify_mode, NULL)
        return require(SSL_CTX_set_session_id_context(ctx, site.session_id, SITE_HASH) == 1, "session id context")

    cdef int fill_table(self, dict copies) except -1:
        """The names, sorted, each with its site."""
        cdef TlsContext context
        cdef bytes name
        cdef Py_ssize_t i = 0
        cdef SiteName* row
        entries = {pattern.encode("ascii"): copies[id(context)] for pattern, context in self.names.items()}
        if self.unknown_names == "refuse":
            for certificate in self.own:
                try:
                    names = certificate.names
                except ValueError:
                    raise CertificateError(f"the alternative names of the certificate in {self.cert_file!r} cannot be "
                                           "read; have it issued anew") from None
                for kind, text in names:
                    if kind == "DNS" and "*." + text.lower().partition(".")[2] not in self.names:   # which come first
                        entries.setdefault(text.lower().encode("ascii", "replace"), self)
            self.table.strict = True
        self.kept = sorted(entries)
        self.table.rows = <SiteName*>PyMem_RawCalloc(max(1, len(self.kept)), sizeof(SiteName))
        if self.table.rows == NULL:
            raise MemoryError()
        for name in self.kept:
            context = entries[name]
            row = &self.table.rows[i]
            row.name = PyBytes_AS_STRING(name)
            row.length = PyBytes_GET_SIZE(name)
            row.site = &context.site
            if not same_rules(row.site, &self.site):
                self.rules_differ = True
            i += 1
        self.table.count = i
        return 1

    cdef const Site* site_for(self, const char* name, Py_ssize_t length) noexcept nogil:
        """What answers for a host name; NULL: nothing does."""
        cdef const Site* found = names_find(&self.table, name, length)
        return found if found != NULL or self.table.strict else &self.site

    def __repr__(self):
        return f"TlsContext({self.cert_file!r}, {self.key_file!r})"


cdef bint same_rules(const Site* a, const Site* b) noexcept nogil:
    """Predicate: both ask the same of clients."""
    return memcmp(a.rules, b.rules, SITE_HASH) == 0 and a.check == b.check


# -- the options -------------------------------------------------------------------------------------------------------

cdef bytes checked_password(password):
    if isinstance(password, str):
        password = password.encode()
    if password is not None and not isinstance(password, bytes):
        raise TypeError(f"password must be str or bytes, not {type(password).__name__}")
    if password is not None and len(password) > MAX_PASSWORD:
        raise ValueError(f"password must not be longer than {MAX_PASSWORD} bytes")
    return password


cdef str one_of(str option, value, allowed):
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{option}={value!r}: give one of {', '.join([repr(one) for one in sorted(allowed)])}")
    return value


cdef dict checked_names(names, TlsContext outer):
    """names= in lower case."""
    cdef TlsContext context
    if not isinstance(names, Mapping):
        raise TypeError('names: a mapping is needed, as in {"api.example.org": TlsContext(...)}')
    checked = {}
    for name, value in names.items():
        if not isinstance(name, str) or not is_host_pattern(name):
            raise ValueError(f'names: {name!r} is no host name; write "example.org" or "*.example.org", and names with '
                             "other letters as IDNA writes them (xn--...)")
        if not isinstance(value, TlsContext):
            raise TypeError(f"names[{name!r}]: a TlsContext is needed, not {type(value).__name__}")
        context = value
        if context.names or context.unknown_names != "serve" or context.options["tickets"] or context.keylog:
            raise ValueError(f"names[{name!r}]: names=, unknown_names=, tickets= and keylog= are the outer context's")
        if context.policy != outer.policy or context.ktls != outer.ktls:
            raise ValueError(f"names[{name!r}]: policy= and ktls= must be those of the outer context: a connection has "
                             "them before it is known which name it is for")
        if name.lower() in checked:
            raise ValueError(f"names: {name!r} stands there twice")
        checked[name.lower()] = context
    return checked


cdef bint is_host_pattern(str name):
    """Predicate: a host name without the root's dot, or one with "*" as its first label."""
    cdef str rest = name[2:] if name.startswith("*.") else name
    return (rest.isascii() and 0 < len(name) <= HOST_NAME_MAX
            and all([0 < len(label) <= 63 and label.replace("-", "a").replace("_", "a").isalnum()
                     for label in rest.split(".")]))


cdef int cleanse_all(dict files) except -1:
    for text in files.values():
        cleanse(text)
    return 1
