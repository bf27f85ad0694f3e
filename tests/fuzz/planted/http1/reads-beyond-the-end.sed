# The CR of a field line may be the last byte there is.
/^    if p + 1 == end:$/,+1d
