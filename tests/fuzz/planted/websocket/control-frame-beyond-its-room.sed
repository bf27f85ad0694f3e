# A control frame may be as long as any.
s/length > WS_CONTROL_MAX/length > 127/
