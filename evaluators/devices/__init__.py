"""Real devices and real compilers: runs a candidate where it is to run, or through what will compile it."""
