# The search for the end of a line that came in pieces begins behind it.
s/_http1_value_end(data + h.scan, data + end)/_http1_value_end(data + end, data + end)/
