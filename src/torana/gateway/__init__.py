"""The life of a call, in the order it happens."""

from torana.gateway.front import Front, refuse
from torana.gateway.life import Gateway
from torana.gateway.reach import Reach

__all__ = ["Front", "Gateway", "Reach", "refuse"]
