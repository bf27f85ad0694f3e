# Decoding in place copies between overlapping ranges.
s/memmove(out + produced/memcpy(out + produced/
