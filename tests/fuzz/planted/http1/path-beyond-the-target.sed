# Off by one.
s/h.path_len = <unsigned int>path_end - h.path_at/& + 1/
