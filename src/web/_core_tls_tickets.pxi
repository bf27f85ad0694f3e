# TicketKeys: the keys of session tickets (RFC 5077; RFC 8446, 4.6.1), which change by the clock.
#
# Time is cut into periods of `lifetime` seconds, counted from TICKET_ANCHOR. The keys of a period issue tickets in it;
# they accept from the period before (clocks of other machines) to the period after. With the sessions' time-out, which
# is `lifetime` too, a ticket is good for exactly that long; and a session that is resumed again and again ends a week
# after its full handshake, whose time each ticket carries. Whoever knows the same secret (a file's content) has the
# same keys at the same time, without a word between them: workers, machines, what is started anew.
#
# A Ratchet is what is left of a secret: values from which the keys of coming periods follow, and none of the past
# (HMAC-SHA256 has no way back). It has two levels, so that a clock that jumps costs thousands of steps, not millions:
#
#     secret -> epochs(0) -> epochs(1) -> ...          one step for EPOCH periods
#                  |            |
#              periods(0)   periods(EPOCH) -> periods(EPOCH + 1) -> ...
#                  |            |                   |
#                 keys         keys                keys
#
# States: NEW (count 0: no keys, accepts and issues nothing), then STARTED for ever. The first ratchet issues; others
# are of contents that the file had before, and accept until `until`.
#
# Invariants:
# - mutex guards ratchets, count and ahead; it is held to advance and to copy a key out, never while OpenSSL encrypts;
# - a ratchet holds the keys of the periods next - 3, next - 2 and next - 1; next - 2 is the one that issues. It never
#   goes back: after a clock that was ahead, tickets are issued with the newest period that was reached;
# - a ratchet is advanced whole or not at all: a step that fails (no memory) leaves it as it was;
# - copies of keys and secrets on the stack are overwritten; the content of the file is its reader's to overwrite.
#
# Ownership: a TlsContext holds its TicketKeys, and so do those that renew it: connections of either accept the tickets
# of both. OpenSSL's callback finds it through its connection, which holds its TlsContext.

from os import fspath, fstat
from stat import S_IMODE

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* mutex, void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* mutex)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)

cdef enum:
    TICKET_SECRET = 32              # bytes: a value of HMAC-SHA256
    TICKET_NAME = 16                # bytes: by which a ticket names its key (RFC 5077, 4)
    TICKET_ANCHOR = 1767225600      # 2026-01-01T00:00:00Z: period 0 begins
    EPOCH = 1 << 12                 # periods
    LAST_PERIOD = (1 << 24) - 4     # 159 years of the shortest: what a clock says beyond that is not believed
    RATCHETS = 3                    # contents of the file that are remembered
    MAX_SESSION = 604800            # seconds since the full handshake (RFC 8446, 4.6.1: limits on the total lifetime)
    MIN_LIFETIME = 300
    MAX_LIFETIME = 604800           # RFC 8446, 4.6.1: seven days
    MIN_TICKET_FILE = 32            # bytes
    MAX_TICKET_FILE = 1 << 20

cdef struct TicketKey:
    unsigned char[16] name          # TICKET_NAME
    unsigned char[32] mac           # HMAC-SHA256
    unsigned char[32] cipher        # AES-256-CBC

cdef struct Ratchet:
    unsigned char[32] mark          # tells that a secret is this one's
    unsigned char[32] epochs        # of the epoch after that of `next`
    unsigned char[32] periods       # of the period `next`
    int64_t next                    # the first period whose keys were not made yet
    int64_t until                   # the last period in which the keys of a former file are accepted
    TicketKey[3] keys


@cython.final
cdef class TicketKeys:
    """Keys of TLS session tickets: AES-256-CBC with HMAC-SHA256 (RFC 5077, 4), changed every `lifetime` seconds.

    file: what it holds is the secret that the keys are made of: 32 bytes or more, readable by its owner only
    (`openssl rand -out tickets.key 64`). All servers that read the same content, with the same lifetime, resume each
    other's sessions. None: a random secret, made at the first load, for this process and its workers.
    lifetime: seconds for which a ticket is good, 300 to 604800 (RFC 8446, 4.6.1).

    Making one touches no file: TlsContext.load() reads it (CertificateError), reload_certificates() again. Old tickets
    stay good then. ValueError, TypeError: lifetime is none.
    """

    cdef readonly str file
    cdef readonly int lifetime
    cdef EVP_MAC* hmac
    cdef EVP_CIPHER* aes
    cdef pthread_mutex_t mutex
    cdef Ratchet[3] ratchets        # RATCHETS
    cdef int count                  # of ratchets in use; 0: NEW
    cdef int64_t ahead              # seconds, for tests: how far this object's clock is

    def __cinit__(self, file=None, *, lifetime=43200):
        pthread_mutex_init(&self.mutex, NULL)
        self.file = None if file is None else fsdecode(fspath(file))
        if isinstance(lifetime, bool) or not isinstance(lifetime, int):
            raise TypeError(f"lifetime must be a number of seconds (int), not {type(lifetime).__name__}")
        if not MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"lifetime must be from {MIN_LIFETIME} to {MAX_LIFETIME} seconds (seven days), "
                             f"not {lifetime}")
        self.lifetime = lifetime

    def __dealloc__(self):
        OPENSSL_cleanse(self.ratchets, sizeof(self.ratchets))
        EVP_MAC_free(self.hmac)
        EVP_CIPHER_free(self.aes)
        pthread_mutex_destroy(&self.mutex)

    def __repr__(self):
        return f"TicketKeys({'' if self.file is None else repr(self.file) + ', '}lifetime={self.lifetime})"

    def _advance(self):
        """Forgets the keys whose time is over, where no handshake does it. False: no memory; again next time."""
        cdef int done
        with nogil:
            pthread_mutex_lock(&self.mutex)
            done = self.advance()
            pthread_mutex_unlock(&self.mutex)
        return done > 0

    def _shift(self, int64_t seconds):
        """For tests: moves this object's clock."""
        pthread_mutex_lock(&self.mutex)
        self.ahead = seconds
        pthread_mutex_unlock(&self.mutex)

    cdef int use(self, bytearray text) except -1:
        """Makes keys of the content of the file, or random ones where there is none (text is None); once, unless the
        content is another one now. TlsError: no memory."""
        cdef unsigned char[32] secret
        cdef Ratchet fresh
        cdef const char* content = NULL if text is None else PyByteArray_AS_STRING(text)
        cdef size_t size = 0 if text is None else PyByteArray_GET_SIZE(text)
        cdef bint done
        if content == NULL and self.count > 0:
            return 1
        if self.hmac == NULL:
            self.hmac = EVP_MAC_fetch(NULL, b"HMAC", NULL)
        if self.aes == NULL:
            self.aes = EVP_CIPHER_fetch(NULL, b"AES-256-CBC", NULL)
        require(self.hmac != NULL and self.aes != NULL, "ticket keys: HMAC and AES-256-CBC")
        with nogil:
            if content == NULL:
                done = RAND_priv_bytes(secret, TICKET_SECRET) == 1
            else:
                done = extract_secret(self.hmac, content, size, secret)
            done = done and ratchet_start(&fresh, self.hmac, secret, self.lifetime)
            OPENSSL_cleanse(secret, sizeof(secret))
            pthread_mutex_lock(&self.mutex)
            if done:
                done = ratchet_advance(&fresh, self.hmac, self.period()) and self.advance() >= 0
            if done:
                self.put_first(&fresh)
            pthread_mutex_unlock(&self.mutex)
            OPENSSL_cleanse(&fresh, sizeof(fresh))
        return require(done, "ticket keys")

    # -- with the mutex held -----------------------------------------------------------------------------------------

    cdef int64_t now(self) noexcept nogil:
        return web_unix_seconds() + self.ahead

    cdef int64_t period(self) noexcept nogil:
        cdef int64_t now = self.now()
        if now < TICKET_ANCHOR + self.lifetime:
            return 1                            # a clock that was not set: there is no period before period 0
        return min((now - TICKET_ANCHOR) // self.lifetime, <int64_t>LAST_PERIOD)

    cdef int advance(self) noexcept nogil:
        """Brings all ratchets to the present. 1 or, where that fails, -1."""
        cdef int64_t now = self.period()
        cdef int i
        while self.count > 1 and self.ratchets[self.count - 1].until < now:
            self.count -= 1
            OPENSSL_cleanse(&self.ratchets[self.count], sizeof(Ratchet))
        for i in range(self.count):
            if not ratchet_advance(&self.ratchets[i], self.hmac, now):
                return -1
        return 1

    cdef void put_first(self, const Ratchet* fresh) noexcept nogil:
        """Lets a secret issue. The one before it accepts as long as its newest tickets are good: also those that other
        machines issue until they have read the file, too. The oldest makes room."""
        cdef int at = 0
        while at < self.count and memcmp(self.ratchets[at].mark, fresh.mark, sizeof(fresh.mark)) != 0:
            at += 1
        if at == 0 and self.count > 0:
            return                              # the content is what it was
        if at == self.count:
            if self.count == RATCHETS:
                at -= 1
            else:
                self.count += 1
        if at > 0:
            self.ratchets[0].until = self.ratchets[0].next      # its newest period is next - 1; and one more
            memmove(&self.ratchets[1], &self.ratchets[0], at * sizeof(Ratchet))
        memcpy(&self.ratchets[0], fresh, sizeof(Ratchet))

    # -- for OpenSSL, in any thread ----------------------------------------------------------------------------------

    cdef int64_t clock(self) noexcept nogil:
        cdef int64_t now
        pthread_mutex_lock(&self.mutex)
        now = self.now()
        pthread_mutex_unlock(&self.mutex)
        return now

    cdef int issuing(self, TicketKey* to) noexcept nogil:
        """Copies out the key that issues. 1, -1 when there is none."""
        cdef int done
        pthread_mutex_lock(&self.mutex)
        done = self.advance() if self.count > 0 else -1
        if done > 0:
            memcpy(to, &self.ratchets[0].keys[1], sizeof(TicketKey))
        pthread_mutex_unlock(&self.mutex)
        return done

    cdef int accepting(self, const unsigned char* name, TicketKey* to) noexcept nogil:
        """Copies out the key of that name. 1; 2: it is an old one; 0: there is none; -1: failed."""
        cdef int i, k, found = 0
        pthread_mutex_lock(&self.mutex)
        if self.count == 0 or self.advance() < 0:
            found = -1
        else:
            for i in range(self.count):
                for k in range(3):
                    if found == 0 and memcmp(self.ratchets[i].keys[k].name, name, TICKET_NAME) == 0:
                        memcpy(to, &self.ratchets[i].keys[k], sizeof(TicketKey))
                        found = 1 if i == 0 and k > 0 else 2
        pthread_mutex_unlock(&self.mutex)
        return found


# -- the ratchet: 1, or 0 where OpenSSL fails --------------------------------------------------------------------------

cdef EVP_MAC_CTX* new_hmac(EVP_MAC* hmac) noexcept nogil:
    """HMAC-SHA256 without a key yet; NULL: no memory."""
    cdef OSSL_PARAM[2] params
    cdef EVP_MAC_CTX* mac = EVP_MAC_CTX_new(hmac)
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, <char*>b"SHA256", 0)
    params[1] = OSSL_PARAM_construct_end()
    if mac != NULL and EVP_MAC_CTX_set_params(mac, params) != 1:
        EVP_MAC_CTX_free(mac)
        return NULL
    return mac


cdef bint hmac_of(EVP_MAC_CTX* mac, const unsigned char* key, const char* data, size_t size,
                  unsigned char* to) noexcept nogil:
    """HMAC(key, data), 32 bytes, of a key of 32. `to` may be the key."""
    cdef size_t[1] length
    length[0] = 0
    return (EVP_MAC_init(mac, key, TICKET_SECRET, NULL) == 1
            and EVP_MAC_update(mac, <const unsigned char*>data, size) == 1
            and EVP_MAC_final(mac, to, length, TICKET_SECRET) == 1 and length[0] == TICKET_SECRET)


cdef bint derive(EVP_MAC_CTX* mac, const unsigned char* key, const char* label, unsigned char* to) noexcept nogil:
    return hmac_of(mac, key, label, strlen(label), to)


cdef bint extract_secret(EVP_MAC* hmac, const char* text, size_t size, unsigned char* to) noexcept nogil:
    """32 even bytes of a file's content, as HKDF extracts them (RFC 5869, 2.2)."""
    cdef EVP_MAC_CTX* mac = new_hmac(hmac)
    cdef bint done = mac != NULL and hmac_of(mac, b"weblatch session ticket secret 1", text, size, to)
    EVP_MAC_CTX_free(mac)
    return done


cdef bint ratchet_start(Ratchet* ratchet, EVP_MAC* hmac, const unsigned char* secret, int lifetime) noexcept nogil:
    """Period 0, with no keys made. Another lifetime makes other keys: its periods are at other times."""
    cdef char[32] label
    cdef EVP_MAC_CTX* mac = new_hmac(hmac)
    cdef bint done
    memset(ratchet, 0, sizeof(Ratchet))
    snprintf(label, sizeof(label), b"epochs of %d s", lifetime)
    done = (mac != NULL and derive(mac, secret, b"mark", ratchet.mark)
            and derive(mac, secret, label, ratchet.epochs) and enter_epoch(ratchet, mac))
    EVP_MAC_CTX_free(mac)
    return done


cdef bint enter_epoch(Ratchet* ratchet, EVP_MAC_CTX* mac) noexcept nogil:
    """The periods of `epochs` begin, and `epochs` becomes that of the epoch after them."""
    return (derive(mac, ratchet.epochs, b"periods", ratchet.periods)
            and derive(mac, ratchet.epochs, b"epochs", ratchet.epochs))


cdef bint leave_period(Ratchet* ratchet, EVP_MAC_CTX* mac) noexcept nogil:
    """next goes one further."""
    ratchet.next += 1
    return enter_epoch(ratchet, mac) if ratchet.next % EPOCH == 0 else derive(mac, ratchet.periods, b"next",
                                                                              ratchet.periods)


cdef bint make_key(Ratchet* ratchet, EVP_MAC_CTX* mac, TicketKey* key) noexcept nogil:
    """The keys of the period `next`."""
    cdef unsigned char[32] name
    cdef bint done = (derive(mac, ratchet.periods, b"name", name) and derive(mac, ratchet.periods, b"mac", key.mac)
                      and derive(mac, ratchet.periods, b"cipher", key.cipher))
    memcpy(key.name, name, TICKET_NAME)
    return done


cdef bint ratchet_advance(Ratchet* ratchet, EVP_MAC* hmac, int64_t period) noexcept nogil:
    """Makes `period` the one that issues, if it is a later one: at most some thousand steps, once in a period."""
    cdef int64_t first = period - 1, after = period + 2
    cdef Ratchet moved
    cdef EVP_MAC_CTX* mac
    cdef bint done
    if ratchet.next >= after:
        return True
    mac = new_hmac(hmac)
    if mac == NULL:
        return False
    moved = ratchet[0]
    done = True
    while done and moved.next // EPOCH < first // EPOCH:
        moved.next = (moved.next // EPOCH + 1) * EPOCH
        done = enter_epoch(&moved, mac)
    while done and moved.next < first:
        done = leave_period(&moved, mac)
    while done and moved.next < after:
        moved.keys[0] = moved.keys[1]
        moved.keys[1] = moved.keys[2]
        done = make_key(&moved, mac, &moved.keys[2]) and leave_period(&moved, mac)
    if done:
        ratchet[0] = moved
    OPENSSL_cleanse(&moved, sizeof(moved))
    EVP_MAC_CTX_free(mac)
    return done


# -- OpenSSL's callbacks -----------------------------------------------------------------------------------------------

cdef int use_tickets(SSL_CTX* ctx, TicketKeys keys) except -1:
    """Lets a context issue and accept tickets by the keys of its connections' TlsContext."""
    SSL_CTX_set_timeout(ctx, keys.lifetime)     # also what clients are told
    return require(SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1
                   and SSL_CTX_set_session_ticket_cb(ctx, on_ticket_made, on_ticket_read, NULL) == 1, "ticket keys")


cdef int on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                   int issues) noexcept nogil:
    """SSL_CTX_set_tlsext_ticket_key_evp_cb(3). 1: the ticket is good; 2: it is, and the client gets a new one; 0: no
    key has that name, and the handshake is a full one; -1: it fails."""
    cdef void* owner = SSL_get_app_data(ssl)
    cdef TicketKey key
    cdef int result
    if owner == NULL:
        return -1
    if issues:
        result = (<Tls>owner).context.tickets.issuing(&key)
        if result > 0:
            memcpy(name, key.name, TICKET_NAME)
            if RAND_bytes(iv, 16) != 1:
                result = -1
    else:
        result = (<Tls>owner).context.tickets.accepting(name, &key)
        if result > 0 and SSL_version(ssl) == TLS1_3_VERSION:
            result = 2          # a ticket that is used twice tells two connections of one client (RFC 8446, C.4)
    if result > 0 and not key_ticket((<Tls>owner).context.tickets.aes, &key, iv, cipher, mac, issues):
        result = -1
    OPENSSL_cleanse(&key, sizeof(key))
    return result


cdef bint key_ticket(EVP_CIPHER* aes, const TicketKey* key, const unsigned char* iv, EVP_CIPHER_CTX* cipher,
                     EVP_MAC_CTX* mac, bint issues) noexcept nogil:
    """Gives the keys to what encrypts, or decrypts, and authenticates a ticket."""
    cdef OSSL_PARAM[2] params
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, <char*>b"SHA256", 0)
    params[1] = OSSL_PARAM_construct_end()
    if EVP_MAC_init(mac, key.mac, sizeof(key.mac), params) != 1:
        return False
    if issues:
        return EVP_EncryptInit_ex2(cipher, aes, key.cipher, iv, NULL) == 1
    return EVP_DecryptInit_ex2(cipher, aes, key.cipher, iv, NULL) == 1


cdef int64_t session_began(SSL_SESSION* session) noexcept nogil:
    """When the full handshake was (seconds, Unix time), as the session's ticket says; -1: it does not say."""
    cdef void* data[1]
    cdef size_t[1] length
    cdef int64_t[1] began
    data[0] = NULL
    length[0] = 0
    if SSL_SESSION_get0_ticket_appdata(session, data, length) != 1 or length[0] != sizeof(began):
        return -1
    memcpy(began, data[0], sizeof(began))
    return began[0]


cdef int on_ticket_made(SSL* ssl, void* data) noexcept nogil:
    """SSL_CTX_set_session_ticket_cb(3): a ticket is about to be made. A session that was resumed keeps its time."""
    cdef void* owner = SSL_get_app_data(ssl)
    cdef SSL_SESSION* session = SSL_get_session(ssl)
    cdef int64_t[1] now
    if owner == NULL or session == NULL:
        return 0
    if session_began(session) >= 0:
        return 1
    now[0] = max((<Tls>owner).context.tickets.clock(), <int64_t>0)
    return SSL_SESSION_set1_ticket_appdata(session, now, sizeof(now))


cdef SSL_TICKET_RETURN on_ticket_read(SSL* ssl, SSL_SESSION* session, const unsigned char* name, size_t length,
                                      SSL_TICKET_STATUS status, void* data) noexcept nogil:
    """SSL_CTX_set_session_ticket_cb(3): whether a session is used; where it is not, the handshake is a full one."""
    cdef void* owner = SSL_get_app_data(ssl)
    cdef int64_t began
    if owner == NULL or (status != SSL_TICKET_SUCCESS and status != SSL_TICKET_SUCCESS_RENEW):
        return SSL_TICKET_RETURN_IGNORE_RENEW
    began = session_began(session)
    if began < 0 or (<Tls>owner).context.tickets.clock() - began > MAX_SESSION:
        return SSL_TICKET_RETURN_IGNORE_RENEW
    if not site_resumes(<Tls>owner, session):
        return SSL_TICKET_RETURN_IGNORE_RENEW
    return SSL_TICKET_RETURN_USE_RENEW if status == SSL_TICKET_SUCCESS_RENEW else SSL_TICKET_RETURN_USE


# -- the file ----------------------------------------------------------------------------------------------------------

cdef bytearray read_ticket_file(str path):
    """The whole file, in memory that the caller can overwrite. CertificateError: it cannot be used."""
    cdef bytearray text = bytearray(MAX_TICKET_FILE + 1)
    cdef Py_ssize_t length = 0, n
    cdef int mode = 0
    try:
        with open(path, "rb", buffering=0) as opened:
            mode = S_IMODE(fstat(opened.fileno()).st_mode)
            while n := opened.readinto(memoryview(text)[length:]):
                length += n
    except (OSError, ValueError):       # ValueError: NUL in the path
        error = exc_info()[1]
        why = getattr(error, "strerror", None) or error
        raise CertificateError(f"the ticket key file {path!r} cannot be read: {why}") from None
    if mode & 0o077:
        cleanse(text)
        raise CertificateError(f"the ticket key file {path!r} can be used by others (mode {mode:04o}), who could "
                               "decrypt sessions: chmod 600, and make a new one if it may have been read")
    if not MIN_TICKET_FILE <= length <= MAX_TICKET_FILE:
        cleanse(text)
        raise CertificateError(f"the ticket key file {path!r} must hold {MIN_TICKET_FILE} random bytes or more, "
                               "at most 1 MiB: openssl rand -out FILE 64")
    del text[length:]
    return text
