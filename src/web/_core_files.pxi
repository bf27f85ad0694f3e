# FileCache: the small files of one static folder, in memory, so that a request for one opens nothing.
#
# What is kept, and why it is the right answer
# - The key is a path as it was received, without '%', so that a client cannot make many spellings of one name (a file
#   system that ignores case can: the bounds below hold there too). It says which names are looked at. Where the folder
#   has compressed files beside others, the codings that the client takes stand in the key, too (web.static): nothing
#   else of a request decides what a static folder answers.
# - With an entry stand the Looks that decided for it: a compressed file that was not there, the file that it is the
#   compressed form of. They have to find again what they found.
# - The value is the Response that was made for it, with the file's bytes, and the file's mark: device, inode, size,
#   mtime and ctime. The same mark is the same file in the same state, so those bytes are what reading it again would
#   give, and it is the file that was checked to lie inside the folder.
# - Before an entry is used, every name of its path below the root is looked at again, as the slow way does: folders
#   must be folders, and the last name a regular file with the entry's mark. The mark alone would serve a file whose
#   folder was moved away and replaced by a link to where it is now. A path that was found through a link is never kept,
#   because where the link leads is not in the mark.
# - What changes a file sets its ctime to now, in ticks of its file system's clock. A file that was changed less than
#   `young` ago (2 s, the coarsest tick in use) is not kept: it could change again without getting another mark.
# - What is not dated (writing through a memory map that was written through before), dated wrongly (by another machine,
#   whose clock is behind) or not known here yet (on a network drive) is seen when the entry is `old`: after 10 s it is
#   read again.
# - Whatever fails here leads to the slow way, which then answers as it would have without this. One difference is left:
#   a process that is out of descriptors still has what it kept.
#
# Owners and bounds: a _Kept is immutable and replaced whole, so threads that share a folder see an entry or none, never
# a part of one; the GIL is given up only while a file is read, before there is an entry. The fd of a file that is read
# is open within file_read only. There are at most KEPT_FILES entries, each of at most KEPT_SIZE bytes and a few names:
# 8 MiB of content. A name is shorter than PATH_ROOM, and than what the request line may be. When there is no room the
# entry that was read first goes: a client that asks for more files than that makes them as dear as the slow way, no
# dearer.

from libc.string cimport strchr
from posix.fcntl cimport O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDONLY, open as posix_open

cdef extern from "fcntl.h" nogil:
    enum:
        O_NOFOLLOW

cdef enum:
    KEPT_SIZE = COPIED_BODY     # a larger body is not sent in one piece with its head: sendfile is as good
    KEPT_FILES = 512
    PATH_ROOM = 4096
    YEAR = 365 * 86400          # seconds


cdef int file_look(const char* path, size_t length, size_t below, web_file_mark* mark) noexcept nogil:
    """The mark of a regular file to which no symbolic link leads, from path[below], the first byte below the root: 1.
    -1 when that is not what is there."""
    cdef char[PATH_ROOM] room
    cdef char* slash
    if not below <= length < PATH_ROOM:
        return -1
    memcpy(room, path, length + 1)
    slash = strchr(room + below, c'/')
    while slash != NULL:
        slash[0] = 0
        if web_mark_path(room, mark) != WEB_IS_FOLDER:
            return -1
        slash[0] = c'/'
        slash = strchr(slash + 1, c'/')
    return 1 if web_mark_path(room, mark) == WEB_IS_FILE else -1


cdef int file_read(const char* path, const web_file_mark* wanted, char* out) noexcept nogil:
    """Reads the whole of a file that has this mark, before and after: 1. -1 when it has not, or cannot be read."""
    cdef web_file_mark mark
    cdef int64_t got = 0
    cdef Py_ssize_t n
    cdef int result = -1
    cdef int file[1]
    file[0] = posix_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW)
    if file[0] < 0:
        return -1
    if web_mark_fd(file[0], &mark) == WEB_IS_FILE and web_same_mark(&mark, wanted):
        while got < wanted.size:
            n = web_read_file(file[0], out + got, <size_t>(wanted.size - got), got)
            if n <= 0:
                break
            got += n
        if got == wanted.size and web_mark_fd(file[0], &mark) == WEB_IS_FILE and web_same_mark(&mark, wanted):
            result = 1
    web_close_fd(file)
    return result


@cython.final
cdef class Look:
    """What stood under a path when it was looked at; see ``FileCache.look``."""
    cdef bytes path
    cdef web_file_mark mark
    cdef readonly bint is_file      # a regular file to which no symbolic link leads

    @property
    def modified(self):
        """int: when its content changed, ns since 1970; 0 where there is no file."""
        return self.mark.modified_ns if self.is_file else 0

    cdef bint holds(self, size_t below) noexcept:
        """Predicate: the same stands there still."""
        cdef web_file_mark mark
        if self.path is None:
            return False
        if file_look(PyBytes_AS_STRING(self.path), PyBytes_GET_SIZE(self.path), below, &mark) < 0:
            return not self.is_file
        return self.is_file and web_same_mark(&mark, &self.mark)


@cython.final
@cython.freelist(16)
cdef class _Kept:
    """One entry of a FileCache."""
    cdef Response response      # with the content; its _file is the path that is looked at
    cdef web_file_mark mark
    cdef int64_t until          # monotonic
    cdef tuple looks            # Looks


@cython.final
cdef class FileCache:
    """The small files of a static folder that were asked for, in memory; Static uses it.

    ``FileCache(root, young=2.0, old=10.0)``: all paths begin with ``root``, which ends with a slash. A file that
    changed less than ``young`` seconds ago is not kept, and one that was read more than ``old`` seconds ago is read
    again.
    """
    cdef readonly Py_ssize_t largest    # bytes of the largest file that is kept
    cdef dict files             # key -> _Kept
    cdef str root
    cdef size_t below           # bytes of the root
    cdef double young
    cdef double old

    def __cinit__(self, str root not None, double young=2.0, double old=10.0):
        if not (0 <= young <= YEAR and 0 <= old <= YEAR):
            raise ValueError(f"FileCache(young={young}, old={old}): both are seconds, from 0 to {YEAR}")
        self.largest = KEPT_SIZE
        self.files = {}
        self.root = root
        self.below = <size_t>PyBytes_GET_SIZE(_fsencode(root))
        self.young = young
        self.old = old

    def __len__(self):
        return len(self.files)

    def __reduce__(self):
        return FileCache, (self.root, self.young, self.old)     # a copy begins empty

    def find(self, str key not None):
        """The Response of a key; None when none is kept, or a file has changed."""
        cdef _Kept kept = self.files.get(key)
        if kept is None:
            return None
        if self._holds(kept):
            return kept.response
        self.files.pop(key, None)
        return None

    cdef bint _holds(self, _Kept kept) noexcept:
        """Predicate: it is what reading the file again would give."""
        cdef web_file_mark mark
        cdef bytes path = kept.response._file
        cdef Py_ssize_t i = 0
        if web_monotonic_ns() >= kept.until \
                or file_look(PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path), self.below, &mark) < 0 \
                or not web_same_mark(&mark, &kept.mark):
            return False
        while i < len(kept.looks):
            if not (<Look>kept.looks[i]).holds(self.below):
                return False
            i += 1
        return True

    def look(self, path not None):
        """A Look at a path below the root."""
        cdef Look look = Look.__new__(Look)
        look.path = _fsencode(path)
        look.is_file = file_look(PyBytes_AS_STRING(look.path), PyBytes_GET_SIZE(look.path), self.below, &look.mark) > 0
        return look

    def keep(self, str key not None, Response response not None, *looks):
        """Keeps the file of a Response for the next request with this key; the Response with the content.

        Where the file is not to be kept, or cannot be read, it is the Response as it was. The caller vouches that its
        path follows from the key, and that no link led there. ``looks``: other files that were looked at to choose it.
        """
        cdef web_file_mark mark
        cdef _Kept kept
        cdef bytes content
        cdef char* to
        cdef int done
        for look in looks:
            if type(look) is not Look:
                raise TypeError(f"FileCache.keep(*looks): Looks are needed, not {type(look).__name__}")
        if response.file_name == NULL \
                or file_look(response.file_name, PyBytes_GET_SIZE(response._file), self.below, &mark) < 0 \
                or mark.size > self.largest or <double>web_mark_age_ns(&mark) < self.young * 1e9:
            return response
        content = PyBytes_FromStringAndSize(NULL, mark.size)
        to = PyBytes_AS_STRING(content)
        with nogil:
            done = file_read(response.file_name, &mark, to)
        if done < 0:
            return response
        kept = _Kept.__new__(_Kept)
        kept.response = response.with_content(content, &mark)
        kept.mark = mark
        kept.looks = looks
        kept.until = web_monotonic_ns() + <int64_t>(self.old * 1e9)
        if len(self.files) >= KEPT_FILES and key not in self.files:
            self.files.pop(next(iter(self.files)), None)
        self.files[key] = kept
        return kept.response
