"""Load comparison of this server with the C reference server."""
