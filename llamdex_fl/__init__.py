"""The shared core of Llamdex FL: no sockets, no Flower, no database server."""
