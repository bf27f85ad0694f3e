"""The sum type of connections: ``match req.connection: case Tls(version=v, cipher=c): ...  case Plain(): ...``."""

from web._core import Connection, ConnectionInUse, Plain, Tls

__all__ = ["Connection", "ConnectionInUse", "Plain", "Tls"]
