"""What one caller may cost us: every bound of the downstream end, with the reason it has its size.

A limit that a test or an operator cannot lower is a limit nobody has seen work: all of them are fields.
"""

from msgspec import Struct


class ServerLimits(Struct, frozen=True):
    """Bounds of a Server. Deadlines are checked by one sweep, so they may pass by up to `sweep_s`."""

    connections_max: int = 10_000
    # About 10 KB each at rest: 100 MB. The 10,001st is told 503 and closed.

    refused_connections_max: int = 1_000
    # Callers above connections_max that are still being told so. Beyond them a connection is dropped unread.

    headers_s: float = 10.0
    # From the first byte (or from the accept, for a silent connection) to the blank line. Apache's
    # RequestReadTimeout gives 20 s, Go servers are advised 5 to 10 s; a head is one or two packets.

    idle_s: float = 75.0
    # Between two requests of a connection: nginx's keepalive_timeout. Pools of SDKs let go earlier.

    body_grace_s: float = 10.0
    body_bytes_per_s_min: int = 1024
    # Each grace period must bring its share of bytes. Slower than a 9,600 baud modem is not a slow network.

    header_bytes_max: int = 64 * 1024
    # Request line and header lines together. nginx allows 32 KiB, Node 16 KiB; JWT carriers reach 20 KiB.

    headers_max: int = 128
    # The SDKs send about 20, proxies add a few; Apache stops at 100.

    target_bytes_max: int = 8 * 1024
    # RFC 9112 section 3 asks for at least 8,000 octets.

    body_bytes_max: int = 64 * 1024 * 1024
    # Providers take 20 to 50 MB of inline media in base64.

    chunk_overhead_factor: int = 16
    # Framing bytes allowed per body byte (on top of header_bytes_max): chunks of one byte cost 5, chunk
    # extensions without end are an attack (CVE-2024-22019 in Node).

    held_bytes_max: int = 64 * 1024
    # Of a body nobody asked for yet, or of pipelined requests, before the socket is no longer read.

    write_stall_s: float = 60.0
    # Without one byte taken by the caller; nginx's send_timeout. Then the connection is aborted.

    write_high_bytes: int = 256 * 1024
    write_low_bytes: int = 64 * 1024
    # The source of a stream is paused above the first mark and resumed below the second: some 1,000 SSE
    # events, enough to bridge a pause of the network, and 1,000 stalled callers stay under 256 MB.

    send_buffer_bytes: int = 128 * 1024
    # SO_SNDBUF, doubled by Linux. Left alone the kernel would take 4 MB per caller that does not read.

    linger_s: float = 2.0
    # How long the rest of a refused request is read and thrown away, so that the answer arrives before the
    # reset that unread bytes cause (RFC 9112 section 9.6).

    sweep_max_s: float = 1.0
    # The longest pause between two looks at the deadlines; also how fresh the `date` header is.

    @property
    def sweep_s(self) -> float:
        shortest = min(self.headers_s, self.idle_s, self.body_grace_s, self.write_stall_s, self.linger_s)
        return min(self.sweep_max_s, shortest / 4)
