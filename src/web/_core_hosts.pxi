# The hosts that an application answers for, compiled from the form hosts(). A request for another one is misdirected
# (RFC 9110 15.5.20): it is answered before any code of the application sees it.

cimport cython


def is_authority(str text not None):
    """Whether a text is a host, perhaps with a port, as it may stand in a Host field."""
    cdef Py_ssize_t[1] size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, size)
    return _http1_is_authority(<const unsigned char*>data, size[0], 0) == 1


@cython.final
cdef class Hosts:
    """``Hosts(exact, suffixes)``, in lower case and without port: whole names and addresses; the ends of names that
    ``*`` stands before, with their first dot."""
    cdef readonly frozenset exact
    cdef readonly tuple suffixes

    def __init__(self, exact, suffixes):
        self.exact = frozenset(exact)
        self.suffixes = tuple(suffixes)

    def admits(self, str authority not None):
        """Whether it is one of them. A port and the dot of a name's root do not count, nor does case."""
        cdef str host = host_name_of(authority)
        # what stands for the star is not empty: ".example.org" would be no name
        return host in self.exact or any([host.endswith(one) and len(host) > len(one) for one in self.suffixes])


cdef str host_name_of(str authority):
    """The name or address of an authority (RFC 3986 3.2.2) in lower case, without port and the dot of the root."""
    cdef str host = authority.lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].removesuffix(".")
