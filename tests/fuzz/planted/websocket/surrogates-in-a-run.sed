# The fast loop takes surrogates, the careful one does not.
s/ || (c == 0xED && second > 0x9F)//
