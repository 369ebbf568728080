"""HTTP for people outside the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from gem_ray.config.checks import check

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


@dataclass(kw_only=True)
class GatewayConfig:
    """``jobs.gateway``: scores and relations of a run over HTTP, for people outside the cluster."""

    host: str = "127.0.0.1"
    """Address to listen on; another than this machine's own needs a proxy with TLS before it."""
    port: int = 8700
    """Port to listen on; 0 takes a free one."""
    authentication: bool = True
    """Ask for a bearer token; false is refused where ``host`` is not this machine's own."""
    token_file: str | None = None
    """File of the token, made where it is missing; None takes one in the user's state folder. GEM_RAY_TOKEN wins."""
    requests_per_minute: int = 120
    """Requests one address may make a minute, on average and in a burst."""
    max_under_way: int = 16
    """Requests that are worked on at a time; more are refused with 503."""
    max_body_bytes: int = 16_000_000
    """A larger request is refused, before it is read to its end."""
    max_pixels: int = 16_000_000
    """An image of more pixels is refused by its header, before decoding."""
    max_images: int = 64
    """Images of one request."""
    max_attributes: int = 64
    """Attributes of one request."""

    def __post_init__(self) -> None:
        counts = ("requests_per_minute", "max_under_way", "max_body_bytes", "max_pixels", "max_attributes")
        for name in counts:
            check(getattr(self, name) >= 1, f"gateway.{name}={getattr(self, name)} must be at least 1")
        check(self.max_images >= 2, f"gateway.max_images={self.max_images} must be at least 2: a relation needs two")
        check(0 <= self.port < 65_536, f"gateway.port={self.port} must lie between 0 and 65535")
        check(
            self.authentication or self.host in LOOPBACK_HOSTS,
            f"gateway.authentication=false needs gateway.host to be one of {', '.join(LOOPBACK_HOSTS)}, not "
            f"{self.host!r}: others could reach it",
        )
