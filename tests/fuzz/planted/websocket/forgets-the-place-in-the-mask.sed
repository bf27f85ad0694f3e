# A payload that comes in pieces is unmasked from the key's first byte each time.
s/web_mask(data, n, r.mask, <size_t>r.at)/web_mask(data, n, r.mask, 0)/
